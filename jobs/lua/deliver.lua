-- deliver: how telling a job's end went. ARGV: owner, delivery, fence, attempt (JSON), ms until it is tried again ('' never), payload
-- for then, bell. Returns {1 if it was in this owner's hands, rings}.
local owner, delivery, again = ARGV[1], ARGV[2], ARGV[5]
local job, told = job_key(delivery), job_key(string.sub(delivery, 4))
local was = redis.call('HMGET', job, 'state', 'worker', 'fence')
if was[1] ~= 'running' or was[2] ~= owner or was[3] ~= ARGV[3] then return {0, {}} end
redis.call('ZREM', P .. 'held:' .. owner, delivery)
if redis.call('EXISTS', told) == 1 then
  local before = redis.call('HGET', told, 'deliveries')
  redis.call('HSET', told, 'deliveries', before and before .. ',' .. ARGV[4] or ARGV[4])
end
if again == '' then
  redis.call('DEL', job)
else
  redis.call('HSET', job, 'state', 'delayed', 'payload', ARGV[6], 'bytes', #ARGV[6])
  redis.call('HDEL', job, 'deaths', 'lapses', 'alone')
  redis.call('ZADD', P .. 'delayed', now + again, delivery)
end
return {1, bells_to_ring(tonumber(ARGV[7]))}
