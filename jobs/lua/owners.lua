-- Owners (worker processes), and taking jobs back from them.

local function requeue(id, alone)
  local job = job_key(id)
  local was = redis.call('HMGET', job, 'lane', 'group', 'rows', 'bytes', 'place', 'expires_at', 'attempts')
  local place = was[5]
  if was[6] and tonumber(was[7] or 0) == 0 then redis.call('ZADD', P .. 'deadlines', was[6], id) end
  if alone then
    place = next_in_sequence()
    redis.call('HSET', job, 'alone', 1, 'place', place)
  end
  redis.call('HSET', job, 'state', 'queued')
  redis.call('ZADD', lane_key(was[1]) .. ':waiting:' .. was[2], place, id)
  count_waiting(was[1], 1, tonumber(was[3]), tonumber(was[4]))
  open_group(was[1], was[2], place)
end

-- The owner is neither working nor idle any more.
local function stop_serving(kind, owner)
  for _, set in ipairs({'serving:', 'lingering:', 'woken:', 'back:'}) do redis.call('ZREM', P .. set .. kind, owner) end
  redis.call('DEL', P .. 'owner:' .. owner, P .. 'wake:' .. owner)
  touched[kind] = true
end

-- Takes an owner's jobs back. why:
--   released   not the jobs' fault: no attempt is counted, they return to their old places; left: the same, the owner has exited
--   isolated   one of the jobs may be at fault: from now on each is claimed alone
--   died       as isolated; a job that was claimed alone counts a death, and fails with the last allowed one
--   lapsed     as died, for a lease that ran out, which is more often the network's fault: it has its own count
--   timed_out  as isolated; a job that was claimed alone fails
local function take_back(kind, owner, why, max_count, error_body)
  local held = redis.call('ZRANGE', P .. 'held:' .. owner, 0, -1)
  stop_serving(kind, owner)
  redis.call('DEL', P .. 'held:' .. owner)
  for _, id in ipairs(held) do
    local fails = #held == 1 and why == 'timed_out'
    local counted = why == 'died' and 'deaths' or why == 'lapsed' and 'lapses'
    if #held == 1 and counted then fails = redis.call('HINCRBY', job_key(id), counted, 1) >= max_count end
    if redis.call('HEXISTS', job_key(id), 'canceling') == 1 then
      finalize(id, 'canceled', 'error', STOPPED)
    elseif fails then
      finalize(id, 'failed', 'error', error_body)
    else
      local innocent = why == 'released' or why == 'left'
      if innocent then redis.call('HINCRBY', job_key(id), 'attempts', -1) end
      requeue(id, not innocent)
    end
  end
  return #held
end
