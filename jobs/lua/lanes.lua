-- The lanes in which jobs wait, and their counts.

local loads, changed = {}, {}  -- by lane
local touched = {}  -- the kinds that may need wakeups

-- Jobs, rows and bytes that wait in the lane, with this script's changes.
local function load_of(lane)
  local load = loads[lane]
  if not load then
    local found = redis.call('HMGET', lane_key(lane), 'jobs', 'rows', 'bytes')
    load = {tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0)}
    loads[lane] = load
  end
  return load
end

local function count_waiting(lane, jobs, rows, bytes)
  local load = load_of(lane)
  load[1], load[2], load[3] = load[1] + jobs, load[2] + rows, load[3] + bytes
  changed[lane] = true
end

-- Allows claims of the group, in its turn. Turns and places come from one sequence, so a job that returns to its old place also
-- gets its turn back.
local function open_group(lane, group, turn)
  redis.call('ZADD', lane_key(lane) .. ':groups', 'LT', turn, group)
  touched[kind_of(lane)] = true
end

local function open_group_if_any(lane, group, turn)
  if redis.call('EXISTS', lane_key(lane) .. ':waiting:' .. group) == 1 then open_group(lane, group, turn) end
end

-- Returns whether other jobs of the group still wait.
local function leave_lane(lane, group, ids, rows, bytes)
  local waiting = lane_key(lane) .. ':waiting:' .. group
  in_parts('ZREM', waiting, ids)
  count_waiting(lane, 0 - #ids, 0 - rows, 0 - bytes)
  if redis.call('EXISTS', waiting) == 1 then return true end
  redis.call('ZREM', lane_key(lane) .. ':groups', group)
  return false
end

-- Writes the counts.
local function save_counts()
  for lane in pairs(changed) do
    local load = loads[lane]
    redis.call('HSET', lane_key(lane), 'jobs', load[1], 'rows', load[2], 'bytes', load[3])
  end
  changed = {}
  save_memory_change()
  keep_clock()
end
