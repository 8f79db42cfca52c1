-- claim: the next work of a lane, of one group. ARGV: not_after, lane, owner, token, bell, lease, max_jobs, max_rows,
-- max_bytes, and then the groups that this owner cannot load. The same token gets the same jobs again. A claim that Redis
-- runs late, after its owner gave up on it, takes nothing: nobody would do the work.
-- Returns {now, group, jobs}, or 'late' for the group; a job is {id, fence, rows, options, payload, after}. No jobs: the
-- owner has signed off.
local lane, owner, token, bell, lease = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local max_jobs, max_rows, max_bytes = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if now > tonumber(ARGV[1]) then return {now, 'late', {}} end
local unloadable = {}
for at = 10, #ARGV do unloadable[ARGV[at]] = true end
local key, held = lane_key(lane), P .. 'held:' .. owner

local function handed_out()
  local jobs, group = {}, ''
  for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    local job = redis.call('HMGET', job_key(id), 'fence', 'rows', 'options', 'payload', 'after', 'group')
    jobs[#jobs + 1] = {id, tonumber(job[1]), tonumber(job[2]), job[3], job[4], job[5] or ''}
    group = job[6]
  end
  return {now, group, jobs}
end

-- A lone job comes alone: it has been at the scene of a death. Returns the ids that fit.
local function fitting(group)
  local ids, rows, bytes = {}, 0, 0
  for _, id in ipairs(redis.call('ZRANGE', key .. ':waiting:' .. group, 0, max_jobs - 1)) do
    local job = redis.call('HMGET', job_key(id), 'rows', 'bytes', 'alone')
    rows, bytes = rows + job[1], bytes + job[2]
    if #ids > 0 and (job[3] or rows > max_rows or bytes > max_bytes) then break end
    ids[#ids + 1] = id
    if job[3] then break end
  end
  return ids
end

local function hand_out(id, order)
  local job = redis.call('HMGET', job_key(id), 'group', 'rows', 'bytes')
  leave_lane(id, lane, job[1], tonumber(job[2]), tonumber(job[3]))
  redis.call('HINCRBY', job_key(id), 'fence', 1)
  redis.call('HINCRBY', job_key(id), 'attempts', 1)
  redis.call('HSET', job_key(id), 'state', 'running', 'owner', owner, 'worker', owner, 'started_at', now)
  redis.call('ZADD', held, order, id)
end

local function claim()
  for _, group in ipairs(redis.call('ZRANGE', key .. ':groups', 0, -1)) do
    if not unloadable[group] then
      local ids = fitting(group)
      for order, id in ipairs(ids) do hand_out(id, order) end
      redis.call('ZADD', key .. ':groups', 'XX', next_in_sequence(), group)
      if #ids > 0 then return end
    end
  end
end

redis.call('ZREM', key .. ':bells', bell)
if redis.call('EXISTS', held) == 1 then
  if redis.call('HGET', P .. 'owner:' .. owner, 'token') == token then return handed_out() end
  take_back(owner, 'released')
end
claim()
if redis.call('EXISTS', held) == 0 then
  redis.call('ZREM', key .. ':serving', owner)
  redis.call('DEL', P .. 'owner:' .. owner)
  return {now, '', {}}
end
redis.call('ZADD', P .. 'owners:' .. kind_of(lane), 'GT', now + lease, owner)
redis.call('HSET', P .. 'owner:' .. owner, 'lane', lane, 'token', token)
redis.call('ZADD', key .. ':serving', now + lease, owner)
redis.call('HDEL', key, 'starved_since')
return handed_out()
