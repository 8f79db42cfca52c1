-- Wakeups for workers when jobs wait.

local MAX_WAKEUPS = 16
local SOON = 10  -- ms

-- The number of jobs that may be claimed now.
local function waiting_of(kind)
  local jobs, may_claim_backlog = 0, not others_claimed_recently(kind) or backlog_has_rested(kind)
  for _, lane in ipairs(LANES[kind]) do
    local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, MAX_GROUPS_READ)
    if #groups > MAX_GROUPS_READ or may_claim_backlog and #groups > 0 then
      jobs = jobs + load_of(lane)[1]
    else
      for _, group in ipairs(groups) do
        if not is_backlog(kind, lane, group) then jobs = jobs + redis.call('ZCARD', lane_key(lane) .. ':waiting:' .. group) end
      end
    end
  end
  return jobs
end

-- The members of a set of expiries that have not expired. With ``latest``, those with a later expiry do not count either: they are
-- from before a clock was set back.
local function unexpired_of(key, latest) return redis.call('ZCOUNT', key, '(' .. now, latest or '+inf') end

-- The wakeups that the touched kinds still need: enough for all waiting jobs, minus those that are in flight and the owners that
-- will soon claim by themselves. (An owner that has not claimed when it expected to is not counted.) A second worker beside one
-- that can claim everything would halve the batches and double the work of claiming. Idle owners are woken up here; for the
-- others this returns a flat list: kind, wakeup, kind, wakeup, …
local function wakeups_to_send(timeout)
  local wakeups = {}
  for kind in pairs(touched) do
    local in_flight, woken, idle = P .. 'bells:' .. kind, P .. 'woken:' .. kind, P .. 'lingering:' .. kind
    local waiting = waiting_of(kind)
    local wanted = math.min(math.ceil(waiting / CLAIMED_AT_ONCE[kind]), MAX_WAKEUPS)
    if wanted > 0 then
      wanted = wanted - unexpired_of(woken, now + timeout) - redis.call('ZCOUNT', P .. 'back:' .. kind, now, now + SOON)
    end
    while wanted > 0 do
      local owner = redis.call('ZPOPMAX', idle)
      if not owner[1] or now >= tonumber(owner[2]) then break end
      redis.call('RPUSH', P .. 'wake:' .. owner[1], 1)
      redis.call('ZADD', woken, now + timeout, owner[1])
      wanted = wanted - 1
    end
    if wanted > 0 then
      local free = unexpired_of(P .. 'owners:' .. kind) - unexpired_of(P .. 'serving:' .. kind)
      for _ = 1, math.min(wanted, free) - unexpired_of(in_flight, now + timeout) do
        local wakeup = 'bell-' .. next_in_sequence()
        redis.call('ZADD', in_flight, now + timeout, wakeup)
        wakeups[#wakeups + 1] = kind
        wakeups[#wakeups + 1] = wakeup
      end
    end
  end
  return wakeups
end
