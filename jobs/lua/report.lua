-- report: store a job's progress. ARGV: owner, id, fence, progress (JSON). Returns 1 if this owner holds the job.
local job = redis.call('HMGET', job_key(ARGV[2]), 'state', 'worker', 'fence')
if job[1] ~= 'running' or job[2] ~= ARGV[1] or job[3] ~= ARGV[3] then return 0 end
redis.call('HSET', job_key(ARGV[2]), 'progress', ARGV[4])
return 1
