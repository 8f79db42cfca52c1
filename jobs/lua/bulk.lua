-- A backlog of one group, and how long other groups have precedence over it.

local BACKLOG_CLAIMS = 2  -- a group with more waiting jobs than this many full claims is a backlog
local BACKLOG_REST_FACTOR = 19  -- times the duration of its last claim, while other groups are claimed
local RECENT_WINDOW = 100  -- ms, in which a claim of other groups counts
local MAX_BACKLOG_CLAIM = 5000  -- ms, for a claim whose owner does not claim again

local function is_backlog(kind, lane, group)
  return CLAIMED_AT_ONCE[kind] > 1
    and redis.call('ZCARD', lane_key(lane) .. ':waiting:' .. group) > BACKLOG_CLAIMS * CLAIMED_AT_ONCE[kind]
end

-- Whether other groups than the backlog were claimed recently, and whether the backlog has rested long enough. A time in the
-- future is from before the clock was set back, and counts as past.
local function others_claimed_recently(kind)
  local ago = now - (redis.call('GET', P .. 'asked:' .. kind) or 0)
  return ago >= 0 and ago <= RECENT_WINDOW
end
local function backlog_has_rested(kind)
  local last = redis.call('HMGET', P .. 'bulk:' .. kind, 'until', 'since')
  return now >= tonumber(last[1] or 0) or now < tonumber(last[2] or 0)
end
