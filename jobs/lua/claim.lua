-- claim: the next work of a kind, of one group. ARGV: not_after, kind, owner, token, bell, lease, linger, number of the lane
-- to look at first, how long this owner's claims usually take in ms, max_rows, max_bytes, and then the groups that this
-- owner cannot load. The same token gets the same jobs again. A claim that Redis runs late, after its owner gave up on it,
-- takes nothing: nobody would do the work.
-- Returns {clock, group, jobs, rest}, or 'late' for the group; a job is {id, fence, rows, options, payload, after, more}. No jobs:
-- the owner now lingers for so long, or has signed off if that is 0; if rest is not 0 there is work to ask for after that
-- many ms.
local kind, owner, token, bell, lease, linger = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local first_lane, usual = tonumber(ARGV[8]), tonumber(ARGV[9])
local max_rows, max_bytes = tonumber(ARGV[10]), math.min(tonumber(ARGV[11]), memory_now().largest)
local EXPIRED_FIRST = 50  -- jobs at most that this script ends, whose deadline has come; the reconciler ends the others
if clock > tonumber(ARGV[1]) or redis.call('EXISTS', P .. 'stopped:' .. owner) == 1 then return {clock, 'late', {}, 0} end
local unloadable = {}
for at = 12, #ARGV do unloadable[ARGV[at]] = true end
local held = P .. 'held:' .. owner

local function handed_out()
  local jobs, group = {}, ''
  for _, id in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    local job = redis.call('HMGET', job_key(id), 'fence', 'rows', 'options', 'payload', 'after', 'more', 'group')
    jobs[#jobs + 1] = {id, tonumber(job[1]), tonumber(job[2]), job[3], job[4], job[5] or '', job[6] or ''}
    group = job[7]
  end
  return {clock, group, jobs, 0}
end

-- The next jobs of a group, a page at a time. Those whose deadline has come are passed over, however many there are.
local function waiting_in_turn(waiting)
  local page, at, first = {}, 0, 0
  local any_due = not unsure and redis.call('ZCOUNT', P .. 'deadlines', '-inf', now) > 0
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

-- A lone job comes alone: it has been at the scene of a death.
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
  leave_lane(lane, group, ids, rows, bytes)
  in_parts('ZADD', held, order)
  redis.call('ZADD', lane_key(lane) .. ':groups', 'XX', next_in_sequence(), group)
  return jobs
end

-- The end of this owner's bulk claim: the others get so many times as long before the next one.
local function end_bulk()
  local last = redis.call('HMGET', P .. 'bulk:' .. kind, 'owner', 'since')
  if last[1] == owner then
    redis.call('HSET', P .. 'bulk:' .. kind, 'owner', '', 'until', now + BULK_RESTS * math.max(0, now - last[2]))
  end
end

-- A backlog of one group does not hold up the others: while they are asked for, it gets a twentieth of one worker's time, and
-- whatever they leave idle.
-- Returns group, jobs, and for how long to wait if there is only work that is to wait.
local function claim()
  local bulk_lane, bulk_group
  local asked, rested = others_asked(kind), bulk_rested(kind)
  for at = 0, #LANES[kind] - 1 do
    local lane = LANES[kind][(first_lane + at) % #LANES[kind] + 1]
    local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, -1)
    for _, group in ipairs(groups) do
      if not unloadable[group] then
        local bulk = is_bulk(kind, lane, group)
        if bulk and not bulk_group then bulk_lane, bulk_group = lane, group end
        if not bulk and (bulk_group or #groups > 1) then redis.call('SET', P .. 'asked:' .. kind, now) end
        if not bulk and not (bulk_group and rested) then
          local jobs = claim_group(lane, group)
          if #jobs > 0 then return group, jobs, 0 end
        end
      end
    end
  end
  if not bulk_group then return '', {}, 0 end
  if asked and not rested then return '', {}, redis.call('HGET', P .. 'bulk:' .. kind, 'until') - now end
  redis.call('HSET', P .. 'bulk:' .. kind, 'owner', owner, 'since', now, 'until', now + LONGEST_BULK)
  return bulk_group, claim_group(bulk_lane, bulk_group), 0
end

if redis.call('EXISTS', held) == 1 then
  if redis.call('GET', P .. 'owner:' .. owner) == token then return handed_out() end
  take_back(kind, owner, 'released')
  settle()
end
redis.call('ZREM', P .. 'bells:' .. kind, bell)
redis.call('ZREM', P .. 'woken:' .. kind, owner)
redis.call('ZREM', P .. 'lingering:' .. kind, owner)
redis.call('DEL', P .. 'wake:' .. owner)
end_bulk()
expire_due(EXPIRED_FIRST)
local group, jobs, rest = claim()
settle()
if #jobs == 0 and linger == 0 then
  stop_serving(kind, owner)
elseif #jobs == 0 then
  redis.call('ZADD', P .. 'lingering:' .. kind, now + linger, owner)
  redis.call('ZADD', P .. 'serving:' .. kind, now + linger, owner)
  redis.call('ZREM', P .. 'back:' .. kind, owner)
  redis.call('DEL', P .. 'owner:' .. owner)
else
  redis.call('ZADD', P .. 'owners:' .. kind, 'GT', now + lease, owner)
  redis.call('ZADD', P .. 'serving:' .. kind, now + lease, owner)
  redis.call('ZADD', P .. 'back:' .. kind, now + usual, owner)
  redis.call('SET', P .. 'owner:' .. owner, token)
  redis.call('DEL', P .. 'starved:' .. kind)
end
return {clock, group, jobs, rest}
