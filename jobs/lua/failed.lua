-- failed: jobs that have failed and are to be logged. ARGV: the reader's name, most jobs at once. What a reader gets is its own, and
-- comes again until the reader has deleted it: so a lost reply loses no line, and no job is logged twice.
-- Returns {how many were left out, jobs: {id, kind, group, error, more}}; of one that was forgotten meanwhile only the id is known.
local mine, most = P .. 'failed:' .. ARGV[1], tonumber(ARGV[2])
local KEPT = 3600  -- s, if the reader ends
if redis.call('EXISTS', mine) == 0 then
  local ids = redis.call('LRANGE', P .. 'failed', 0, most - 1)
  if #ids > 0 then
    redis.call('LTRIM', P .. 'failed', #ids, -1)
    in_parts('RPUSH', mine, ids)
    redis.call('EXPIRE', mine, KEPT)
  end
end
local jobs = {}
for at, id in ipairs(redis.call('LRANGE', mine, 0, -1)) do
  local was = redis.call('HMGET', job_key(id), 'kind', 'group', 'error', 'more')
  jobs[at] = {id, was[1] or '', was[2] or '', was[3] or '', was[4] or ''}
end
local left_out = tonumber(redis.call('GET', P .. 'failed-unlogged') or 0)
if left_out > 0 then redis.call('DEL', P .. 'failed-unlogged') end
return {left_out, jobs}
