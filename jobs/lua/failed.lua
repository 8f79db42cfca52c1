-- failed: failed jobs that are to be logged. ARGV: the reader's name, maximum number of jobs. A reader gets jobs that no other
-- reader gets, and gets them again until it has deleted them: so a lost reply loses no line, and no job is logged twice. Returns
-- {number of jobs that were dropped, jobs: {id, kind, group, error, metadata}}; if a record was deleted, only its id is known.
local reading, limit = P .. 'failed:' .. ARGV[1], tonumber(ARGV[2])
local READER_TIMEOUT = 3600  -- s, in case the reader dies
if redis.call('EXISTS', reading) == 0 then
  local ids = redis.call('LRANGE', P .. 'failed', 0, limit - 1)
  if #ids > 0 then
    redis.call('LTRIM', P .. 'failed', #ids, -1)
    in_parts('RPUSH', reading, ids)
    redis.call('EXPIRE', reading, READER_TIMEOUT)
  end
end
local jobs = {}
for at, id in ipairs(redis.call('LRANGE', reading, 0, -1)) do
  local was = redis.call('HMGET', job_key(id), 'kind', 'group', 'error', 'more')
  jobs[at] = {id, was[1] or '', was[2] or '', was[3] or '', was[4] or ''}
end
local dropped = tonumber(redis.call('GET', P .. 'failed-unlogged') or 0)
if dropped > 0 then redis.call('DEL', P .. 'failed-unlogged') end
return {dropped, jobs}
