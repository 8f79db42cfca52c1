-- deliver: how telling a job's end went. ARGV: owner, delivery, fence, attempt (JSON; '' if it was not tried), ms until it is tried
-- again ('' never), payload for then, bytes that those may have together (beyond them the payload is the job's id, as it was at
-- first), bell. Returns {1 if it was in this owner's hands, rings}.
local owner, delivery, attempt, again, payload = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local job, told = job_key(delivery), job_key(string.sub(delivery, 4))
local was = redis.call('HMGET', job, 'state', 'worker', 'fence')
if was[1] ~= 'running' or was[2] ~= owner or was[3] ~= ARGV[3] then return {0, {}} end
redis.call('ZREM', P .. 'held:' .. owner, delivery)
if attempt ~= '' and redis.call('EXISTS', told) == 1 then
  local before = redis.call('HGET', told, 'deliveries')
  local deliveries = before and before .. ',' .. attempt or attempt
  redis.call('HSET', told, 'deliveries', deliveries)
  redis.call('INCRBY', P .. 'finished:bytes', #deliveries - #(before or ''))
end
if again == '' then
  redis.call('DEL', job)
else
  if redis.call('INCRBY', P .. 'delayed:bytes', #payload) > tonumber(ARGV[7]) then
    redis.call('DECRBY', P .. 'delayed:bytes', #payload - #delivery + 3)
    payload = string.sub(delivery, 4)
  end
  redis.call('HSET', job, 'state', 'delayed', 'payload', payload, 'bytes', #payload)
  redis.call('HDEL', job, 'deaths', 'lapses', 'alone')
  redis.call('ZADD', P .. 'delayed', now + again, delivery)
end
return {1, bells_to_ring(tonumber(ARGV[8]))}
