-- How soon a job is likely to be done.

local LONGEST_RETRY = 60  -- s
local NOBODY_RETRY = 5  -- s, while nobody is there to do it

-- Jobs a second that a lane's owners do together by what they have done lately; 0: nobody is there. Not known: as fast as can be.
local paces = {}
local function pace_of(lane)
  if not paces[lane] then
    local owners = redis.call('ZCOUNT', P .. 'owners:' .. kind_of(lane), now, '+inf')
    paces[lane] = owners * (tonumber(redis.call('GET', P .. 'speed:' .. lane)) or math.huge)
    if owners == 0 then paces[lane] = 0 end
  end
  return paces[lane]
end

-- Seconds until the job at this place in its lane is likely to be done.
local function retry_after(lane, position)
  if pace_of(lane) == 0 then return NOBODY_RETRY end
  return math.max(1, math.min(LONGEST_RETRY, math.ceil(position / pace_of(lane))))
end

-- How many of its lane were accepted before it and still wait, and itself.
local function position_of(lane, group, place)
  local position, own = 1, false
  local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, MOST_LOOKED_AT)
  for _, each in ipairs(groups) do
    own = own or each == group
    position = position + redis.call('ZCOUNT', lane_key(lane) .. ':waiting:' .. each, '-inf', '(' .. place)
  end
  return own and position or position + redis.call('ZCOUNT', lane_key(lane) .. ':waiting:' .. group, '-inf', '(' .. place)
end
