-- cancel: end a queued job. ARGV: id, error body, bell. Returns {canceled|running|missing|<its final state>, rings}.
local id = ARGV[1]
local state = redis.call('HGET', job_key(id), 'state')
if not state then return {'missing', {}} end
if state ~= 'queued' then return {state, {}} end
finalize(id, 'canceled', 'error', ARGV[2])
redis.call('HINCRBY', job_key(id), 'fence', 1)
announce()
return {'canceled', bells_to_ring(tonumber(ARGV[3]))}
