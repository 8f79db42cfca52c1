-- read: records, without their payloads. ARGV: bytes of results that one reply may carry, bytes for which there is room in all ('' for
-- any), ids. Returns them packed, each as it is pushed when it becomes final (see finalize), and while it is open with its
-- position and the seconds after which to ask; {id} for one that is not there, {id, 'again'} for one beyond the reply, and
-- without its result one beyond the room.
local most, room, records = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
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
  elseif most < 0 then
    records[#records + 1] = {id, 'again'}
  else
    local record = {id}
    for field = 1, 17 do record[field + 1] = job[field] or '' end
    record[19], record[20] = '', ''
    if job[2] == 'queued' then
      local position = position_of(job[18], job[3], job[19])
      record[19], record[20] = tostring(position), tostring(retry_after(job[18], position))
    end
    most = most - #record[11]
    if room then room = room - #record[11] end
    records[#records + 1] = record
  end
end
return cmsgpack.pack(records)
