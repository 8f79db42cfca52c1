-- Who is to be told that there is work.

local MOST_KNOCKS = 16
local SOON = 10  -- ms

-- What may be claimed now.
local function waiting_of(kind)
  local jobs, may_bulk = 0, not others_asked(kind) or bulk_rested(kind)
  for _, lane in ipairs(LANES[kind]) do
    local groups = redis.call('ZRANGE', lane_key(lane) .. ':groups', 0, MOST_LOOKED_AT)
    if #groups > MOST_LOOKED_AT or may_bulk and #groups > 0 then
      jobs = jobs + (redis.call('HGET', lane_key(lane), 'jobs') or 0)
    else
      for _, group in ipairs(groups) do
        if not is_bulk(kind, lane, group) then jobs = jobs + redis.call('ZCARD', lane_key(lane) .. ':waiting:' .. group) end
      end
    end
  end
  return jobs
end

-- The knocks that the touched kinds still need: enough for all that waits, less those under way and the owners who will soon
-- ask for more by themselves. (One who is not back when it expected to be is not counted on.) A second worker beside one that
-- can take everything would halve the batches and double the work of claiming. Those who linger are woken here; for the
-- others returns a flat list: kind, bell, kind, bell, …
local function bells_to_ring(lifetime)
  local rings = {}
  for kind in pairs(touched) do
    local bells, woken = P .. 'bells:' .. kind, P .. 'woken:' .. kind
    local serving, lingering = P .. 'serving:' .. kind, P .. 'lingering:' .. kind
    local waiting = waiting_of(kind)
    if waiting > 0 then
      for _, key in ipairs({bells, woken, serving, lingering}) do redis.call('ZREMRANGEBYSCORE', key, '-inf', now) end
      for _, key in ipairs({bells, woken}) do
        redis.call('ZREMRANGEBYSCORE', key, '(' .. (now + lifetime), '+inf')  -- made before a clock was set back
      end
      local wanted = math.min(math.ceil(waiting / CLAIMED_AT_ONCE[kind]), MOST_KNOCKS) - redis.call('ZCARD', woken)
        - redis.call('ZCOUNT', P .. 'back:' .. kind, now, now + SOON)
      while wanted > 0 do
        local owner = redis.call('ZPOPMAX', lingering)[1]
        if not owner then break end
        redis.call('RPUSH', P .. 'wake:' .. owner, 1)
        redis.call('ZADD', woken, now + lifetime, owner)
        wanted = wanted - 1
      end
      local rung = redis.call('ZCARD', bells)
      local free = redis.call('ZCOUNT', P .. 'owners:' .. kind, now, '+inf') - redis.call('ZCARD', serving)
      for _ = 1, math.min(wanted, free) - rung do
        local bell = 'bell-' .. next_in_sequence()
        redis.call('ZADD', bells, now + lifetime, bell)
        rings[#rings + 1] = kind
        rings[#rings + 1] = bell
      end
    end
  end
  return rings
end
