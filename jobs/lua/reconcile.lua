-- reconcile: one round of the reconciler. ARGV: lease, outage, wakeup timeout in ms, keep, keep_bytes, max_lapses, error body,
-- the ledger's time by the reconciler's clock ('': unknown), bytes that Redis uses ('': not checked), room and largest (see
-- memory.lua), and why no jobs may be accepted ('': they may). Returns {the ledger's time, number of dead owners, number of jobs
-- that expired or whose record was deleted, 1 if there are more of these, wakeups}.
local lease, outage, wakeup_timeout = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local keep, max_lapses, error_body = tonumber(ARGV[4]), tonumber(ARGV[6]), ARGV[7]
local keep_bytes = tonumber(ARGV[5]) or memory_now().room
local expected, used, room, largest, full = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12]
local MAX_DEAD, MAX_DELIVERED, MAX_CORRECTED = 20, 500, 1000
local CLOCK_STEP = 3000  -- ms between Redis's clock and the reconciler's; from this difference on, Redis's clock was set
local SLEW_RATE = 0.1  -- share of elapsed time by which the ledger's time approaches Redis's
local FULL_TIMEOUT = 5000  -- ms, in case the reconciler dies

-- Corrects the deadlines of jobs that were accepted while the clock was wrong.
local function correct_deadlines(step)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', now + step, '+inf', 'LIMIT', 0, MAX_CORRECTED)) do
    local was = redis.call('HMGET', job_key(id), 'created_at', 'expires_at')
    if was[2] and tonumber(was[1]) > now then
      redis.call('HSET', job_key(id), 'expires_at', was[2] - step)
      redis.call('ZADD', P .. 'deadlines', was[2] - step, id)
    end
  end
end

-- Advances the ledger's time with the reconciler's clock, whatever happened to Redis's clock. If the elapsed time is unknown, it
-- trusts Redis's clock, except for a step back. Returns the time of the last round.
local function keep_time()
  local stepped = expected and math.abs(clock - expected) > CLOCK_STEP
  local correct = stepped and expected or now
  local elapsed = math.max(0, math.min(1000, correct - (last_round or correct)))
  ahead = ahead + correct - clock
  ahead = ahead > 0 and math.max(0, ahead - SLEW_RATE * elapsed) or math.min(0, ahead + SLEW_RATE * elapsed)
  ahead = math.floor(ahead)
  now, unsure = wall + ahead, false
  local last = last_round or tonumber(redis.call('GET', P .. 'reconciled') or now)
  redis.call('HSET', P .. 'clock', 'ahead', ahead, 'reconciled', now)
  redis.call('DEL', P .. 'reconciled')  -- its key in an older format
  if clock - correct > CLOCK_STEP then correct_deadlines(clock - correct) end
  clock = now
  return last
end

-- Stores how much memory Redis uses, for the add script.
local function save_memory_use()
  local before = redis.call('GET', P .. 'finished:bytes')  -- its key in an older format
  if before then
    redis.call('HINCRBY', P .. 'memory', 'finished', before)
    redis.call('DEL', P .. 'finished:bytes')
  end
  local found = redis.call('HMGET', P .. 'memory', 'open', 'finished')
  local known = (found[1] or 0) + (found[2] or 0)
  if used then redis.call('HSET', P .. 'memory', 'used', used, 'known', known, 'room', room, 'largest', largest) end
  if used and full == '' then
    redis.call('HDEL', P .. 'memory', 'full', 'full_until')
  elseif used then
    redis.call('HSET', P .. 'memory', 'full', full, 'full_until', now + FULL_TIMEOUT)
  end
  return tonumber(found[2] or 0)
end

-- Shortens leases to one lease from now: they may be from before the clock was set back.
local function shorten_leases(kind)
  local owners = P .. 'owners:' .. kind
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners, '(' .. now + lease, '+inf')) do
    redis.call('ZADD', owners, now + lease, owner)
  end
end

-- During an outage no owner could renew its lease: each gets one full lease before jobs are taken back.
local function extend_all(kind)
  local owners = P .. 'owners:' .. kind
  for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do redis.call('ZADD', owners, 'GT', now + lease, owner) end
end

local function take_back_from_dead(kind)
  local dead = redis.call('ZRANGEBYSCORE', P .. 'owners:' .. kind, '-inf', now, 'LIMIT', 0, MAX_DEAD)
  for _, owner in ipairs(dead) do
    redis.call('ZREM', P .. 'owners:' .. kind, owner)
    take_back(kind, owner, 'lapsed', max_lapses, error_body)
  end
  return #dead
end

-- Forgets wakeups and owners that have expired, and wakeups from before a clock was set back.
local function forget_expired(kind)
  for _, name in ipairs({'bells:', 'woken:', 'serving:', 'lingering:'}) do
    redis.call('ZREMRANGEBYSCORE', P .. name .. kind, '-inf', now)
  end
  for _, name in ipairs({'bells:', 'woken:'}) do
    redis.call('ZREMRANGEBYSCORE', P .. name .. kind, '(' .. (now + wakeup_timeout), '+inf')
  end
end

-- The records of jobs that ended while the clock was wrong are kept from now on, not from the wrong time on.
local function correct_ends()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'finished', '(' .. now, '+inf', 'LIMIT', 0, MAX_CORRECTED)) do
    redis.call('ZADD', P .. 'finished', now, id)
  end
end

local function delete_old_records(finished_bytes)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'finished', '-inf', now - keep, 'LIMIT', 0, MAX_DELETED)) do
    finished_bytes = finished_bytes - delete_record(id)
    count = count + 1
  end
  while count < MAX_DELETED and finished_bytes > keep_bytes do
    local oldest = redis.call('ZRANGE', P .. 'finished', 0, 0)
    if #oldest == 0 then break end
    finished_bytes = finished_bytes - delete_record(oldest[1])
    count = count + 1
  end
  return count
end

local function requeue_deliveries()
  for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, MAX_DELIVERED)) do
    redis.call('ZREM', P .. 'delayed', delivery)
    redis.call('DECRBY', P .. 'delayed:bytes', redis.call('HGET', job_key(delivery), 'bytes'))
    requeue(delivery)
  end
end

redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize
local last, finished_bytes, dead = keep_time(), save_memory_use(), 0
for kind in pairs(LANES) do
  shorten_leases(kind)
  if now - last > outage then extend_all(kind) else dead = dead + take_back_from_dead(kind) end
  forget_expired(kind)
  touched[kind] = true
end
correct_ends()
local expired, deleted = expire_due(MAX_EXPIRED), delete_old_records(finished_bytes)
requeue_deliveries()
settle()
local more = (expired == MAX_EXPIRED or deleted == MAX_DELETED) and 1 or 0
return {now, dead, expired + deleted, more, wakeups_to_send(wakeup_timeout)}
