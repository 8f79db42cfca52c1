-- stop: end the jobs that are to be stopped, of these owners. ARGV: kind, bell, owners. Such an owner claims nothing any more:
-- its process is to be ended. Returns {owners stopped, rings}: also those that were stopped before, for the reply may have been lost.
local STAYS_STOPPED = 3600000  -- ms; its process has ended long before
local kind, stopped = ARGV[1], {}
for at = 3, #ARGV do
  local owner = ARGV[at]
  if redis.call('ZREM', P .. 'canceling:' .. kind, owner) == 1 then
    for _, id in ipairs(redis.call('ZRANGE', P .. 'held:' .. owner, 0, -1)) do
      if redis.call('HEXISTS', job_key(id), 'canceling') == 1 then
        redis.call('ZREM', P .. 'held:' .. owner, id)
        finalize(id, 'canceled', 'error', STOPPED)
        redis.call('SET', P .. 'stopped:' .. owner, 1, 'PX', STAYS_STOPPED)
      end
    end
  end
  if redis.call('EXISTS', P .. 'stopped:' .. owner) == 1 then stopped[#stopped + 1] = owner end
end
settle()
return {stopped, bells_to_ring(tonumber(ARGV[2]))}
