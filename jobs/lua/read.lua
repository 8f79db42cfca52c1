-- read: records, without their payloads. ARGV: maximum bytes of results in one reply, maximum bytes of results in all ('': no
-- limit), ids. Returns packed records, in the form in which they are pushed when they become final (see finalize), those of
-- queued jobs with their position and the seconds until the client should poll. A record is {id} for a job that does not exist
-- and {id, 'again'} for one that did not fit into the reply; if its result exceeds what is left of the maximum in all, it comes
-- without the result.
local left, room, records = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
local function fields_with(result)
  return {'kind', 'state', 'group', 'rows', 'attempts', 'created_at', 'started_at', 'finished_at', 'worker', result, 'error',
    'progress', 'caller', 'more', 'expires_at', 'canceling', 'deliveries', 'lane', 'place'}
end
local ALL, WITHOUT = fields_with('result'), fields_with('')
for at = 3, #ARGV do
  local id = ARGV[at]
  local fits = not room or redis.call('HSTRLEN', job_key(id), 'result') <= room
  local job = redis.call('HMGET', job_key(id), unpack(fits and ALL or WITHOUT))
  if not job[1] then
    records[#records + 1] = {id}
  elseif left < 0 then
    records[#records + 1] = {id, 'again'}
  else
    local record = {id}
    for field = 1, 17 do record[field + 1] = job[field] or '' end
    record[19], record[20] = '', ''
    if job[2] == 'queued' then
      local position = position_of(job[18], job[3], job[19])
      record[19], record[20] = tostring(position), tostring(retry_after(job[18], position))
    end
    left = left - #record[11]
    if room then room = room - #record[11] end
    records[#records + 1] = record
  end
end
return cmsgpack.pack(records)
