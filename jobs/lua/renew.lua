-- renew: the leases of live owners. ARGV: lease, kind, number of lanes, lanes, owners.
-- Returns {jobs in these owners' hands, how long work has waited in the lanes with nobody at it, in ms}.
local lease, kind, lanes = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local held, starved = 0, 0
redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize in ledger.lua
for at = 4 + lanes, #ARGV do
  redis.call('ZADD', P .. 'owners:' .. kind, now + lease, ARGV[at])
  local hands = redis.call('ZCARD', P .. 'held:' .. ARGV[at])
  local lane = redis.call('HGET', P .. 'owner:' .. ARGV[at], 'lane')
  if hands > 0 and lane then redis.call('ZADD', lane_key(lane) .. ':serving', now + lease, ARGV[at]) end
  held = held + hands
end
for at = 4, 3 + lanes do
  local key = lane_key(ARGV[at])
  if redis.call('EXISTS', key .. ':groups') == 1 and redis.call('ZCOUNT', key .. ':serving', now, '+inf') == 0 then
    redis.call('HSETNX', key, 'starved_since', now)
    starved = math.max(starved, now - redis.call('HGET', key, 'starved_since'))
  else
    redis.call('HDEL', key, 'starved_since')
  end
end
return {held, starved}
