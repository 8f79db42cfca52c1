-- claim: the next jobs of a kind, all of one group. ARGV: not_after, kind, owner, token, wakeup that the owner answers, lease, ms
-- to be idle for, index of the lane to search first, expected ms until the owner's next claim, max_rows, max_bytes, and the
-- groups that this owner cannot load. The same token gets the same jobs again. A claim that runs after its owner has stopped
-- waiting for it claims nothing, because no worker would process the jobs. Returns {clock, group, jobs, delay}, with 'late' for
-- the group if it ran too late; a job is {id, fence, rows, options, payload, after, metadata}. Without jobs, the owner is idle
-- now, or has signed off if the time to be idle is 0; if delay is not 0, jobs may be claimed after that many ms.
local kind, owner, token, wakeup, lease, idle_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local first_lane, expected_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
local largest = tonumber(redis.call('HGET', P .. 'memory', 'largest') or math.huge)
local max_rows, max_bytes = tonumber(ARGV[10]), math.min(tonumber(ARGV[11]), largest)
local MAX_EXPIRED_BY_CLAIM = 50  -- the reconciler ends further expired jobs
local held, stopped = P .. 'held:' .. owner, P .. 'stopped:' .. owner
local any_held_or_stopped = redis.call('EXISTS', held, stopped) > 0
if clock > tonumber(ARGV[1]) or any_held_or_stopped and redis.call('EXISTS', stopped) == 1 then return {clock, 'late', {}, 0} end
local unloadable = {}
for at = 12, #ARGV do unloadable[ARGV[at]] = true end

local function held_jobs()
  local jobs, group = {}, ''
  for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    local job = redis.call('HMGET', job_key(id), 'fence', 'rows', 'options', 'payload', 'after', 'more', 'group')
    jobs[#jobs + 1] = {id, tonumber(job[1]), tonumber(job[2]), job[3], job[4], job[5] or '', job[6] or ''}
    group = job[7]
  end
  return {clock, group, jobs, 0}
end

local any_due = false  -- whether jobs may be waiting whose deadline has passed

-- Iterates over the waiting jobs of a group, a page at a time, without those whose deadline has passed.
local function waiting_in_turn(waiting)
  local page, at, first = {}, 0, 0
  return function()
    while true do
      if at == #page then
        if at > 0 and #page < CLAIMED_AT_ONCE[kind] then return nil end
        page, at, first = redis.call('ZRANGE', waiting, first, first + CLAIMED_AT_ONCE[kind] - 1), 0, first + CLAIMED_AT_ONCE[kind]
        if #page == 0 then return nil end
      end
      at = at + 1
      local deadline = any_due and redis.call('ZSCORE', P .. 'deadlines', page[at])
      if not deadline or now < tonumber(deadline) then return page[at] end
    end
  end
end

-- A job that is marked alone is claimed alone, because it may be at fault for the end of its last claim (see take_back).
local function claim_group(lane, group)
  local ids, order, jobs, rows, bytes = {}, {}, {}, 0, 0
  for id in waiting_in_turn(lane_key(lane) .. ':waiting:' .. group) do
    local job = redis.call('HMGET', job_key(id), 'rows', 'bytes', 'alone', 'fence', 'attempts', 'options', 'payload', 'after',
      'more', 'expires_at')
    if #ids > 0 and (job[3] or rows + job[1] > max_rows or bytes + job[2] > max_bytes) then break end
    if job[10] then redis.call('ZREM', P .. 'deadlines', id) end
    rows, bytes = rows + job[1], bytes + job[2]
    local fence = (job[4] or 0) + 1
    redis.call('HSET', job_key(id), 'state', 'running', 'worker', owner, 'started_at', now, 'fence', fence,
      'attempts', (job[5] or 0) + 1)
    ids[#ids + 1] = id
    order[2 * #ids - 1], order[2 * #ids] = #ids, id
    jobs[#jobs + 1] = {id, fence, tonumber(job[1]), job[6], job[7], job[8] or '', job[9] or ''}
    if job[3] or #ids == CLAIMED_AT_ONCE[kind] then break end
  end
  if #ids == 0 then return jobs end
  local others_wait = leave_lane(lane, group, ids, rows, bytes)
  in_parts('ZADD', held, order)
  if others_wait then redis.call('ZADD', lane_key(lane) .. ':groups', 'XX', next_in_sequence(), group) end
  return jobs
end

-- Ends this owner's claim of the backlog: the other groups get BACKLOG_REST_FACTOR times its duration before the next one.
local function end_backlog_claim()
  if redis.call('HGET', P .. 'bulk:' .. kind, 'owner') ~= owner then return end
  local since = redis.call('HGET', P .. 'bulk:' .. kind, 'since')
  redis.call('HSET', P .. 'bulk:' .. kind, 'owner', '', 'until', now + BACKLOG_REST_FACTOR * math.max(0, now - since))
end

-- A backlog of one group does not delay the others: while they are claimed, it gets a twentieth of one worker's time, and the
-- time that they leave idle. Returns group, jobs, and the ms to wait if there are only jobs that have to wait.
local function claim()
  local backlog_lane, backlog_group, others_claimed, rested
  for at = 0, #LANES[kind] - 1 do
    local lane = LANES[kind][(first_lane + at) % #LANES[kind] + 1]
    local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, -1)
    for _, group in ipairs(groups) do
      if not unloadable[group] then
        local backlog = is_backlog(kind, lane, group)
        if backlog and not backlog_group then
          backlog_lane, backlog_group = lane, group
          others_claimed, rested = others_claimed_recently(kind), backlog_has_rested(kind)
        end
        if not backlog and (backlog_group or #groups > 1) then redis.call('SET', P .. 'asked:' .. kind, now) end
        if not backlog and not (backlog_group and rested) then
          local jobs = claim_group(lane, group)
          if #jobs > 0 then return group, jobs, 0 end
        end
      end
    end
  end
  if not backlog_group then return '', {}, 0 end
  if others_claimed and not rested then return '', {}, redis.call('HGET', P .. 'bulk:' .. kind, 'until') - now end
  redis.call('HSET', P .. 'bulk:' .. kind, 'owner', owner, 'since', now, 'until', now + MAX_BACKLOG_CLAIM)
  return backlog_group, claim_group(backlog_lane, backlog_group), 0
end

if any_held_or_stopped then
  if redis.call('GET', P .. 'owner:' .. owner) == token then return held_jobs() end
  take_back(kind, owner, 'released')
  settle()
end
local was_working = redis.call('ZREM', P .. 'back:' .. kind, owner) == 1  -- the first write; see finalize in ends.lua
if not was_working or wakeup ~= '' then
  redis.call('ZREM', P .. 'bells:' .. kind, wakeup)
  redis.call('ZREM', P .. 'woken:' .. kind, owner)
  redis.call('ZREM', P .. 'lingering:' .. kind, owner)
  redis.call('DEL', P .. 'wake:' .. owner)
end
end_backlog_claim()
any_due = expire_due(MAX_EXPIRED_BY_CLAIM) > 0
local group, jobs, delay = claim()
settle()
if #jobs == 0 and idle_ms == 0 then
  stop_serving(kind, owner)
elseif #jobs == 0 then
  redis.call('ZADD', P .. 'lingering:' .. kind, now + idle_ms, owner)
  redis.call('ZADD', P .. 'serving:' .. kind, now + idle_ms, owner)
  redis.call('DEL', P .. 'owner:' .. owner)
else
  redis.call('ZADD', P .. 'owners:' .. kind, 'GT', now + lease, owner)
  redis.call('ZADD', P .. 'serving:' .. kind, now + lease, owner)
  redis.call('ZADD', P .. 'back:' .. kind, now + expected_ms, owner)
  redis.call('SET', P .. 'owner:' .. owner, token)
  redis.call('DEL', P .. 'starved:' .. kind)
end
return {clock, group, jobs, delay}
