-- cancel: end a queued job. ARGV: id, error body, bell. Returns {canceled|running|missing|<its final state>, rings}.
local id = ARGV[1]
local was = redis.call('HMGET', job_key(id), 'state', 'lane', 'group', 'rows', 'bytes')
if not was[1] then return {'missing', {}} end
if was[1] ~= 'queued' then return {was[1], {}} end
leave_lane(was[2], was[3], {id}, tonumber(was[4]), tonumber(was[5]))
finalize(id, 'canceled', 'error', ARGV[2])
settle()
return {'canceled', bells_to_ring(tonumber(ARGV[3]))}
