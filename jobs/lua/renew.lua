-- renew: the leases of live owners. ARGV: lease, kind, owners.
-- Returns {number of jobs that these owners hold, ms for which jobs have waited without a serving owner}.
local lease, kind = tonumber(ARGV[1]), ARGV[2]
local held = 0
redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize in ends.lua
keep_clock()
if #ARGV > 2 then redis.call('HSET', P .. 'seen', kind, now) end
for at = 3, #ARGV do
  redis.call('ZADD', P .. 'owners:' .. kind, now + lease, ARGV[at])
  local count = redis.call('ZCARD', P .. 'held:' .. ARGV[at])
  if count > 0 then redis.call('ZADD', P .. 'serving:' .. kind, now + lease, ARGV[at]) end
  held = held + count
end
if waiting_of(kind) > 0 and redis.call('ZCOUNT', P .. 'serving:' .. kind, now, '+inf') == 0 then
  local since = tonumber(redis.call('GET', P .. 'starved:' .. kind))
  if not since or since > now then
    redis.call('SET', P .. 'starved:' .. kind, now)
    since = now
  end
  return {held, now - since}
end
redis.call('DEL', P .. 'starved:' .. kind)
return {held, 0}
