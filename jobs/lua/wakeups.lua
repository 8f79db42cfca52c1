-- Wakeups for workers when jobs wait.

local MAX_WAKEUPS = 16
local SOON = 10  -- ms

-- The number of jobs that may be claimed now.
local function waiting_of(kind)
  local jobs, may_claim_backlog = 0, not others_claimed_recently(kind) or backlog_has_rested(kind)
  for _, lane in ipairs(LANES[kind]) do
    local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, MAX_GROUPS_READ)
    if #groups > MAX_GROUPS_READ or may_claim_backlog and #groups > 0 then
      jobs = jobs + (redis.call('HGET', lane_key(lane), 'jobs') or 0)
    else
      for _, group in ipairs(groups) do
        if not is_backlog(kind, lane, group) then jobs = jobs + redis.call('ZCARD', lane_key(lane) .. ':waiting:' .. group) end
      end
    end
  end
  return jobs
end

-- The wakeups that the touched kinds still need: enough for all waiting jobs, minus those that are in flight and the owners that
-- will soon claim by themselves. (An owner that has not claimed when it expected to is not counted.) A second worker beside one
-- that can claim everything would halve the batches and double the work of claiming. Idle owners are woken up here; for the
-- others this returns a flat list: kind, wakeup, kind, wakeup, …
local function wakeups_to_send(timeout)
  local wakeups = {}
  for kind in pairs(touched) do
    local in_flight, woken = P .. 'bells:' .. kind, P .. 'woken:' .. kind
    local serving, idle = P .. 'serving:' .. kind, P .. 'lingering:' .. kind
    local waiting = waiting_of(kind)
    if waiting > 0 then
      for _, key in ipairs({in_flight, woken, serving, idle}) do redis.call('ZREMRANGEBYSCORE', key, '-inf', now) end
      for _, key in ipairs({in_flight, woken}) do
        redis.call('ZREMRANGEBYSCORE', key, '(' .. (now + timeout), '+inf')  -- created before a clock was set back
      end
      local wanted = math.min(math.ceil(waiting / CLAIMED_AT_ONCE[kind]), MAX_WAKEUPS) - redis.call('ZCARD', woken)
        - redis.call('ZCOUNT', P .. 'back:' .. kind, now, now + SOON)
      while wanted > 0 do
        local owner = redis.call('ZPOPMAX', idle)[1]
        if not owner then break end
        redis.call('RPUSH', P .. 'wake:' .. owner, 1)
        redis.call('ZADD', woken, now + timeout, owner)
        wanted = wanted - 1
      end
      local sent = redis.call('ZCARD', in_flight)
      local free = redis.call('ZCOUNT', P .. 'owners:' .. kind, now, '+inf') - redis.call('ZCARD', serving)
      for _ = 1, math.min(wanted, free) - sent do
        local wakeup = 'bell-' .. next_in_sequence()
        redis.call('ZADD', in_flight, now + timeout, wakeup)
        wakeups[#wakeups + 1] = kind
        wakeups[#wakeups + 1] = wakeup
      end
    end
  end
  return wakeups
end
