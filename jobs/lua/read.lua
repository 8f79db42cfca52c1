-- read: records, without their payloads. ARGV: bytes of results that one reply may carry, ids. Returns them packed, each as
-- it is pushed when it becomes final (see finalize); {id} for one that is not there, {id, 'again'} for one beyond the bytes.
local most, records = tonumber(ARGV[1]), {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local job = redis.call('HMGET', job_key(id), 'kind', 'state', 'group', 'rows', 'attempts', 'created_at', 'started_at',
    'finished_at', 'worker', 'result', 'error', 'progress')
  if not job[1] then
    records[#records + 1] = {id}
  elseif most < 0 then
    records[#records + 1] = {id, 'again'}
  else
    local record = {id}
    for place = 1, 12 do record[place + 1] = job[place] or '' end
    most = most - #record[11]
    records[#records + 1] = record
  end
end
return cmsgpack.pack(records)
