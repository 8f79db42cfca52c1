-- The lanes in which jobs wait, and their counts.

local counts, touched = {}, {}  -- by lane; by kind, the kinds that may need wakeups

local function count_waiting(lane, jobs, rows, bytes)
  local count = counts[lane]
  if count then
    count[1], count[2], count[3] = count[1] + jobs, count[2] + rows, count[3] + bytes
  else
    counts[lane] = {jobs, rows, bytes}
  end
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

local function leave_lane(lane, group, ids, rows, bytes)
  local waiting = lane_key(lane) .. ':waiting:' .. group
  in_parts('ZREM', waiting, ids)
  if redis.call('EXISTS', waiting) == 0 then redis.call('ZREM', lane_key(lane) .. ':groups', group) end
  count_waiting(lane, 0 - #ids, 0 - rows, 0 - bytes)  -- not -rows: Lua would write -0
end

-- Writes the counts.
local function save_counts()
  for lane, count in pairs(counts) do
    for at, field in ipairs({'jobs', 'rows', 'bytes'}) do
      if count[at] ~= 0 then redis.call('HINCRBY', lane_key(lane), field, count[at]) end
    end
  end
  counts = {}
  save_memory_change()
  keep_clock()
end
