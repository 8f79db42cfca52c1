-- deliver: how telling a job's end went. ARGV: owner, delivery, fence, attempt (JSON; '' if it was not tried), ms until it is tried
-- again ('' never), payload for then, bytes that those may have together ('': a quarter of all room; beyond them the payload is the
-- job's id, as it was at first), bell. Returns {1 if it was in this owner's hands, rings}.
local owner, delivery, attempt, again, payload = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local job, told = job_key(delivery), job_key(string.sub(delivery, 4))
local was = redis.call('HMGET', job, 'state', 'worker', 'fence', 'cost')
local cost = tonumber(was[4] or 0)
if was[1] ~= 'running' or was[2] ~= owner or was[3] ~= ARGV[3] then return {0, {}} end
redis.call('ZREM', P .. 'held:' .. owner, delivery)
if attempt ~= '' and redis.call('EXISTS', told) == 1 then
  local before = redis.call('HGET', told, 'deliveries')
  local deliveries = before and before .. ',' .. attempt or attempt
  redis.call('HSET', told, 'deliveries', deliveries)
  count_memory(0, 0, #deliveries - #(before or ''))
end
if again == '' then
  redis.call('DEL', job)
  count_memory(0 - cost, 0, 0)
else
  local delayed, most = tonumber(redis.call('GET', P .. 'delayed:bytes') or 0), tonumber(ARGV[7]) or memory_now().room / 4
  if delayed + #payload > most or not make_room(#payload) then payload = string.sub(delivery, 4) end
  redis.call('INCRBY', P .. 'delayed:bytes', #payload)
  redis.call('HSET', job, 'state', 'delayed', 'payload', payload, 'bytes', #payload, 'cost', DELIVERY_OVERHEAD + #payload)
  count_memory(DELIVERY_OVERHEAD + #payload - cost, 0, 0)
  redis.call('HDEL', job, 'deaths', 'lapses', 'alone')
  redis.call('ZADD', P .. 'delayed', now + again, delivery)
end
save_memory_change()
return {1, bells_to_ring(tonumber(ARGV[8]))}
