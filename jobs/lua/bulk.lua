-- A backlog of one group, and how long it gives way to others.

local BULK = 2  -- a group of which more than so many full claims wait is a backlog
local BULK_RESTS = 19  -- times as long as its last claim took, while others are asked for …
local LATELY = 100  -- … within so many ms
local LONGEST_BULK = 5000  -- ms, for a claim whose owner does not come back

local function is_bulk(kind, lane, group)
  return CLAIMED_AT_ONCE[kind] > 1
    and redis.call('ZCARD', lane_key(lane) .. ':waiting:' .. group) > BULK * CLAIMED_AT_ONCE[kind]
end

-- Whether others than the backlog were asked for lately, and whether it has waited for as long as it is to. A time that is yet to
-- come is of before the clock was set back: it counts as over.
local function others_asked(kind)
  local ago = now - (redis.call('GET', P .. 'asked:' .. kind) or 0)
  return ago >= 0 and ago <= LATELY
end
local function bulk_rested(kind)
  local last = redis.call('HMGET', P .. 'bulk:' .. kind, 'until', 'since')
  return now >= tonumber(last[1] or 0) or now < tonumber(last[2] or 0)
end
