-- report: how far a job is that takes long. ARGV: owner, id, fence, progress (JSON). Returns 1 if it is in this owner's hands.
local job = redis.call('HMGET', job_key(ARGV[2]), 'state', 'worker', 'fence')
if job[1] ~= 'running' or job[2] ~= ARGV[1] or job[3] ~= ARGV[3] then return 0 end
redis.call('HSET', job_key(ARGV[2]), 'progress', ARGV[4])
return 1
