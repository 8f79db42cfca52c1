-- Estimates when a job will end.

local MAX_RETRY_AFTER = 60  -- s
local NO_WORKER_RETRY_AFTER = 5  -- s

-- Jobs per second of all of a lane's owners together, by their recent speed; 0 without owners, infinite if the speed is unknown.
local paces = {}
local function pace_of(lane)
  if not paces[lane] then
    local owners = redis.call('ZCOUNT', P .. 'owners:' .. kind_of(lane), now, '+inf')
    paces[lane] = owners * (tonumber(redis.call('GET', P .. 'speed:' .. lane)) or math.huge)
    if owners == 0 then paces[lane] = 0 end
  end
  return paces[lane]
end

-- Seconds until the job at this position in its lane is likely to end.
local function retry_after(lane, position)
  if pace_of(lane) == 0 then return NO_WORKER_RETRY_AFTER end
  return math.max(1, math.min(MAX_RETRY_AFTER, math.ceil(position / pace_of(lane))))
end

-- The position in its lane, from 1: jobs that were accepted before it and still wait, and the job itself.
local function position_of(lane, group, place)
  local position, own = 1, false
  local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, MAX_GROUPS_READ)
  for _, each in ipairs(groups) do
    own = own or each == group
    position = position + redis.call('ZCOUNT', lane_key(lane) .. ':waiting:' .. each, '-inf', '(' .. place)
  end
  return own and position or position + redis.call('ZCOUNT', lane_key(lane) .. ':waiting:' .. group, '-inf', '(' .. place)
end
