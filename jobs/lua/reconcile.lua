-- reconcile: what nobody else will do. ARGV: lease, outage, bell, keep, keep_bytes, max_lapses, error body, the ledger's time as the
-- reconciler expects it ('' if it does not know), bytes that Redis uses ('' if they were not looked at), room and largest (see
-- memory.lua), and why nothing is to be accepted ('' if all is well).
-- Returns {the ledger's time, owners found dead, jobs that expired or were forgotten, 1 if there are more of them, rings}.
local lease, outage, bell = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local keep, max_lapses, error_body = tonumber(ARGV[4]), tonumber(ARGV[6]), ARGV[7]
local keep_bytes = tonumber(ARGV[5]) or memory_now().room
local expected, used, room, largest, full = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12]
local MOST_DEAD, MOST_DELIVERED, MOST_CORRECTED = 20, 500, 1000
local CLOCK_STEP = 3000  -- ms between Redis's clock and the reconciler's from which on it was set
local SLEW = 0.1  -- of the time that passes, by which the ledger's time comes back to Redis's
local FULL_FOR = 5000  -- ms, if the reconciler dies

-- Of jobs that were accepted while the clock was wrong, their deadlines are too.
local function correct_deadlines(step)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', now + step, '+inf', 'LIMIT', 0, MOST_CORRECTED)) do
    local was = redis.call('HMGET', job_key(id), 'created_at', 'expires_at')
    if was[2] and tonumber(was[1]) > now then
      redis.call('HSET', job_key(id), 'expires_at', was[2] - step)
      redis.call('ZADD', P .. 'deadlines', was[2] - step, id)
    end
  end
end

-- The ledger's time goes on as the reconciler's clock does, whatever was done to Redis's. Without knowing what has passed it takes
-- Redis's word, but for going back. Returns the time of the last round.
local function keep_time()
  local stepped = expected and math.abs(clock - expected) > CLOCK_STEP
  local right = stepped and expected or now
  local passed = math.max(0, math.min(1000, right - (last_round or right)))
  ahead = ahead + right - clock
  ahead = ahead > 0 and math.max(0, ahead - SLEW * passed) or math.min(0, ahead + SLEW * passed)
  ahead = math.floor(ahead)
  now, unsure = wall + ahead, false
  local last = last_round or tonumber(redis.call('GET', P .. 'reconciled') or now)
  redis.call('HSET', P .. 'clock', 'ahead', ahead, 'reconciled', now)
  redis.call('DEL', P .. 'reconciled')  -- where it was kept before
  if clock - right > CLOCK_STEP then correct_deadlines(clock - right) end
  clock = now
  return last
end

-- How full Redis is, for those who accept jobs.
local function note_memory()
  local before = redis.call('GET', P .. 'finished:bytes')  -- where it was kept before
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
    redis.call('HSET', P .. 'memory', 'full', full, 'full_until', now + FULL_FOR)
  end
  return tonumber(found[2] or 0)
end

-- A lease lasts no longer than one from now on: it may have been given before the clock was set back.
local function shorten_leases(kind)
  local owners = P .. 'owners:' .. kind
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', owners, '(' .. now + lease, '+inf')) do
    redis.call('ZADD', owners, now + lease, owner)
  end
end

-- After an outage nobody could renew: every owner gets one full lease before any work is taken away.
local function extend_all(kind)
  local owners = P .. 'owners:' .. kind
  for _, owner in ipairs(redis.call('ZRANGE', owners, 0, -1)) do redis.call('ZADD', owners, 'GT', now + lease, owner) end
end

local function bury_the_dead(kind)
  local dead = redis.call('ZRANGEBYSCORE', P .. 'owners:' .. kind, '-inf', now, 'LIMIT', 0, MOST_DEAD)
  for _, owner in ipairs(dead) do
    redis.call('ZREM', P .. 'owners:' .. kind, owner)
    take_back(kind, owner, 'lapsed', max_lapses, error_body)
  end
  return #dead
end

-- What ended while the clock was wrong is forgotten when its time from now on is over, not from the wrong time on.
local function correct_ends()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'finished', '(' .. now, '+inf', 'LIMIT', 0, MOST_CORRECTED)) do
    redis.call('ZADD', P .. 'finished', now, id)
  end
end

local function forget_the_old(finished_bytes)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'finished', '-inf', now - keep, 'LIMIT', 0, MOST_FORGOTTEN)) do
    finished_bytes = finished_bytes - forget(id)
    count = count + 1
  end
  while count < MOST_FORGOTTEN and finished_bytes > keep_bytes do
    local oldest = redis.call('ZRANGE', P .. 'finished', 0, 0)
    if #oldest == 0 then break end
    finished_bytes = finished_bytes - forget(oldest[1])
    count = count + 1
  end
  return count
end

local function deliver_again()
  for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, MOST_DELIVERED)) do
    redis.call('ZREM', P .. 'delayed', delivery)
    redis.call('DECRBY', P .. 'delayed:bytes', redis.call('HGET', job_key(delivery), 'bytes'))
    wait_again(delivery)
  end
end

redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize
local last, finished_bytes, dead = keep_time(), note_memory(), 0
for kind in pairs(LANES) do
  shorten_leases(kind)
  if now - last > outage then extend_all(kind) else dead = dead + bury_the_dead(kind) end
  touched[kind] = true
end
correct_ends()
local expired, forgotten = expire_due(MOST_EXPIRED), forget_the_old(finished_bytes)
deliver_again()
settle()
local more = (expired == MOST_EXPIRED or forgotten == MOST_FORGOTTEN) and 1 or 0
return {now, dead, expired + forgotten, more, bells_to_ring(bell)}
