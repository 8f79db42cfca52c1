-- How jobs end.

local finals, finished, done, failed = {}, {}, {}, {}
local MAX_PUSHED = 4000  -- bytes; waiting clients read a larger result
local MAX_UNLOGGED = 10000
local MAX_EXPIRED = 100  -- jobs in one script: each takes a tenth of a millisecond
local SPEED_WEIGHT = 0.1  -- of the latest jobs in the moving average of a lane's speed

-- Queues the delivery of a webhook: a job in the lane webhook, whose group is the webhook's host.
local function queue_delivery(id, host)
  local delivery, group, place = 'wh-' .. id, host .. '/0', next_in_sequence()
  redis.call('HSET', job_key(delivery), 'kind', 'webhook', 'state', 'queued', 'lane', 'webhook', 'group', group, 'rows', 1,
    'bytes', #id, 'created_at', now, 'place', place, 'options', '{}', 'payload', id, 'cost', DELIVERY_OVERHEAD)
  count_memory(DELIVERY_OVERHEAD, 0, 0)
  redis.call('ZADD', lane_key('webhook') .. ':waiting:' .. group, place, delivery)
  count_waiting('webhook', 1, 1, #id)
  open_group('webhook', group, place)
end

-- The fields that finalize needs, and the state and fence.
local function open_job(id)
  return redis.call('HMGET', job_key(id), 'kind', 'group', 'rows', 'attempts', 'created_at', 'started_at', 'worker', 'awaited',
    'caller', 'more', 'expires_at', 'deliver_to', 'lane', 'canceling', 'cost', 'room', 'state', 'fence')
end

-- The only way for a job to become final; no owner may hold it any more. The first write of a script that ends jobs is a ZREM: at
-- maxmemory Redis refuses a script whose first write allocates. ``was``: the reply of open_job, if it was called already.
local function finalize(id, state, field, body, was)
  local job = job_key(id)
  was = was or open_job(id)
  count_memory(0 - (was[15] or 0), 0 - (was[16] or 0), 0)
  if was[1] == 'webhook' then return redis.call('DEL', job) end
  redis.call('HDEL', job, 'payload', 'options', 'lane', 'bytes', 'place', 'fence', 'cost', 'room', 'after')
  local simple = state == 'succeeded' and was[4] == '1' and was[1] == 'predict' and not (was[8] or was[12] or was[14])
  if not simple then
    redis.call('HDEL', job, 'alone', 'deaths', 'lapses', 'awaited', 'progress', 'deliver_to', 'canceling')
  end
  redis.call('HSET', job, 'state', state, 'finished_at', now, field, body)
  finished[#finished + 1] = id
  if state == 'failed' then failed[#failed + 1] = id end
  if was[11] then redis.call('ZREM', P .. 'deadlines', id) end
  if was[14] then redis.call('ZREM', P .. 'canceling:' .. kind_of(was[13]), was[7]) end
  if was[12] then queue_delivery(id, was[12]) end
  if state == 'succeeded' then
    local lane = done[was[13]] or {0, 1}
    done[was[13]] = {lane[1] + 1, math.max(lane[2], now - was[6])}
  end
  if was[8] then
    for _, place in ipairs(redis.call('SMEMBERS', P .. 'after:' .. id)) do
      local lane, group = string.match(place, '^(%S+) (.+)$')
      open_group_if_any(lane, group, next_in_sequence())
    end
    redis.call('DEL', P .. 'after:' .. id)
  end
  count_memory(0, 0, #body + #(was[10] or '') + RECORD_OVERHEAD)
  if #body > MAX_PUSHED then
    finals[#finals + 1] = {id}
  else
    local result, failure = field == 'result' and body or '', field == 'error' and body or ''
    finals[#finals + 1] = {id, was[1], state, was[2], was[3], was[4] or '', was[5], was[6] or '', tostring(now), was[7] or '',
      result, failure, '', was[9] or '', was[10] or '', was[11] or '', '', '', '', ''}
  end
end

-- Writes the counts and pushes the jobs that became final. Every script that may end jobs calls it at its end.
local function settle()
  save_counts()
  if #finished > 0 then
    local scored = {}
    for at, id in ipairs(finished) do scored[2 * at - 1], scored[2 * at] = now, id end
    in_parts('ZADD', P .. 'finished', scored)
    redis.call('PUBLISH', P .. 'finals', cmsgpack.pack(finals))
  end
  if #failed > 0 then
    in_parts('RPUSH', P .. 'failed', failed)
    local beyond = redis.call('LLEN', P .. 'failed') - MAX_UNLOGGED
    if beyond > 0 then
      redis.call('LTRIM', P .. 'failed', beyond, -1)
      redis.call('INCRBY', P .. 'failed-unlogged', beyond)
    end
  end
  for lane, work in pairs(done) do
    local known, last = tonumber(redis.call('GET', P .. 'speed:' .. lane)), 1000 * work[1] / work[2]
    redis.call('SET', P .. 'speed:' .. lane, known and known + SPEED_WEIGHT * (last - known) or last)
  end
  finals, finished, done, failed = {}, {}, {}, {}
end

-- Ends the jobs that had not started at their deadline. Returns how many it has checked.
local function expire_due(limit)
  if unsure then return 0 end
  local due = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    local was = redis.call('HMGET', job_key(id), 'state', 'lane', 'group', 'rows', 'bytes', 'attempts')
    redis.call('ZREM', P .. 'deadlines', id)
    if was[1] == 'queued' and tonumber(was[6] or 0) == 0 then
      leave_lane(was[2], was[3], {id}, tonumber(was[4]), tonumber(was[5]))
      finalize(id, 'expired', 'error', EXPIRED)
    end
  end
  return #due
end
