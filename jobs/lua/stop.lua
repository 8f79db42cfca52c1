-- stop: end the jobs of these owners that are being canceled. ARGV: kind, wakeup timeout in ms, owners. Owners of such jobs may
-- not claim any more: their processes must be ended. Returns {stopped owners, wakeups}, including owners that were stopped
-- before, because the reply may have been lost.
local STOPPED_TIMEOUT = 3600000  -- ms; its process has ended long before
local kind, stopped = ARGV[1], {}
for at = 3, #ARGV do
  local owner = ARGV[at]
  if redis.call('ZREM', P .. 'canceling:' .. kind, owner) == 1 then
    for _, id in ipairs(redis.call('ZRANGE', P .. 'held:' .. owner, 0, -1)) do
      if redis.call('HEXISTS', job_key(id), 'canceling') == 1 then
        redis.call('ZREM', P .. 'held:' .. owner, id)
        finalize(id, 'canceled', 'error', STOPPED)
        redis.call('SET', P .. 'stopped:' .. owner, 1, 'PX', STOPPED_TIMEOUT)
      end
    end
  end
  if redis.call('EXISTS', P .. 'stopped:' .. owner) == 1 then stopped[#stopped + 1] = owner end
end
settle()
return {stopped, wakeups_to_send(tonumber(ARGV[2]))}
