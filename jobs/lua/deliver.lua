-- deliver: record an attempt to deliver a webhook. ARGV: owner, delivery, fence, attempt (JSON; '' if there was none), ms until
-- the next attempt ('': none), its payload, maximum bytes of such payloads together ('': a quarter of all room; beyond it the
-- payload is replaced by the job's id, as for the first attempt).
local owner, delivery, attempt, again, payload = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local job, ended_job = job_key(delivery), job_key(string.sub(delivery, 4))
local was = redis.call('HMGET', job, 'state', 'worker', 'fence', 'cost')
local cost = tonumber(was[4] or 0)
if was[1] ~= 'running' or was[2] ~= owner or was[3] ~= ARGV[3] then return end
redis.call('ZREM', P .. 'held:' .. owner, delivery)
if attempt ~= '' and redis.call('EXISTS', ended_job) == 1 then
  local before = redis.call('HGET', ended_job, 'deliveries')
  local deliveries = before and before .. ',' .. attempt or attempt
  redis.call('HSET', ended_job, 'deliveries', deliveries)
  count_memory(0, 0, #deliveries - #(before or ''))
end
if again == '' then
  redis.call('DEL', job)
  count_memory(0 - cost, 0, 0)
else
  local delayed, max_bytes = tonumber(redis.call('GET', P .. 'delayed:bytes') or 0), tonumber(ARGV[7]) or memory_now().room / 4
  if delayed + #payload > max_bytes or not make_room(#payload) then payload = string.sub(delivery, 4) end
  redis.call('INCRBY', P .. 'delayed:bytes', #payload)
  redis.call('HSET', job, 'state', 'delayed', 'payload', payload, 'bytes', #payload, 'cost', DELIVERY_OVERHEAD + #payload)
  count_memory(DELIVERY_OVERHEAD + #payload - cost, 0, 0)
  redis.call('HDEL', job, 'deaths', 'lapses', 'alone')
  redis.call('ZADD', P .. 'delayed', now + again, delivery)
end
save_memory_change()
