-- reconcile: what nobody else will do. ARGV: lease, outage, bell, keep, keep_bytes, max_lapses, error body.
-- Returns {owners found dead, finished jobs forgotten, rings}.
local lease, outage, bell = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local keep, keep_bytes, max_lapses, error_body = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local MOST_DEAD, MOST_FORGOTTEN, MOST_DELIVERED = 20, 500, 500

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

local function forget(id)
  local job = job_key(id)
  local was = redis.call('HMGET', job, 'caller', 'key')
  redis.call('ZREM', P .. 'finished', id)
  redis.call('ZREM', P .. 'jobs:' .. (was[1] or ''), id)
  if was[2] then redis.call('DEL', P .. 'key:' .. (was[1] or '') .. ':' .. was[2]) end
  local size = RECORD_OVERHEAD
  for _, field in ipairs({'result', 'error', 'more', 'deliveries'}) do size = size + redis.call('HSTRLEN', job, field) end
  redis.call('DEL', job)
  redis.call('DECRBY', P .. 'finished:bytes', size)
end

local function forget_the_old()
  local old = redis.call('ZRANGEBYSCORE', P .. 'finished', '-inf', now - keep, 'LIMIT', 0, MOST_FORGOTTEN)
  for _, id in ipairs(old) do forget(id) end
  local count = #old
  while count < MOST_FORGOTTEN and tonumber(redis.call('GET', P .. 'finished:bytes') or 0) > keep_bytes do
    local oldest = redis.call('ZRANGE', P .. 'finished', 0, 0)
    if #oldest == 0 then break end
    forget(oldest[1])
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
local last = tonumber(redis.call('GET', P .. 'reconciled') or now)
local dead = 0
for kind in pairs(LANES) do
  if now - last > outage then extend_all(kind) else dead = dead + bury_the_dead(kind) end
  touched[kind] = true
end
expire_due()
deliver_again()
local forgotten = forget_the_old()
settle()
redis.call('SET', P .. 'reconciled', now)
return {dead, forgotten, bells_to_ring(bell)}
