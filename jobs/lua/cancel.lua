-- cancel: end a queued job, or request that a running one be stopped. ARGV: id, wakeup timeout in ms.
-- Returns {canceled|canceling|missing|<its final state>, wakeups}. A job that is being stopped always becomes canceled.
local id = ARGV[1]
local was = redis.call('HMGET', job_key(id), 'state', 'lane', 'group', 'rows', 'bytes', 'worker')
if not was[1] then return {'missing', {}} end
redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize
if was[1] == 'running' then
  redis.call('HSET', job_key(id), 'canceling', 1)
  redis.call('ZADD', P .. 'canceling:' .. kind_of(was[2]), 'NX', now, was[6])
  return {'canceling', {}}
end
if was[1] ~= 'queued' then return {was[1], {}} end
leave_lane(was[2], was[3], {id}, tonumber(was[4]), tonumber(was[5]))
finalize(id, 'canceled', 'error', CANCELED)
settle()
return {'canceled', wakeups_to_send(tonumber(ARGV[2]))}
