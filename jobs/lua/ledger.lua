-- What the ledger's scripts share. LANES and CLAIMED_AT_ONCE, by kind, come before it, and clock.lua and memory.lua (see
-- ledger.py).
--
--   P job:<id>                      hash  the record
--   P lane:<lane>                   hash  jobs, rows, bytes that wait
--   P lane:<lane>:groups            zset  groups that may be claimed -> turn (lowest next)
--   P lane:<lane>:waiting:<group>   zset  ids that wait -> place
--   P bells:<kind>                  zset  knocks on their way -> expiry
--   P serving:<kind>                zset  owners at work, or lingering -> expiry
--   P lingering:<kind>              zset  owners that wait for more work -> expiry
--   P back:<kind>                   zset  owners at work -> when they expect to ask for more
--   P woken:<kind>                  zset  lingerers that have been woken and not come yet -> expiry
--   P wake:<owner>                  list  what wakes one that lingers
--   P bulk:<kind>                   hash  owner, since: the last claim of a backlog; until: when the next may be made
--   P asked:<kind>                  time when others than the backlog were last claimed
--   P starved:<kind>                time since when work has waited with nobody serving
--   P unloadable:<kind>             hash  groups that a worker could not load -> until when to tell, and why
--   P loadable:<kind>               hash  of these, groups that another worker has loaded -> until when to tell
--   P seen                          hash  kind -> when one of its workers last renewed its lease
--   P reports                       hash  problems that a part has with what is outside of the ledger -> until when, and its words
--   P owners:<kind>                 zset  live worker processes -> end of lease
--   P owner:<owner>                 string  token of the claim in hand
--   P held:<owner>                  zset  ids in the owner's hands -> order of the claim
--   P after:<id>                    set   "<lane> <group>" that wait for this job to end
--   P finished                      zset  final ids -> time
--   P memory                        hash  see memory.lua;  P clock: see clock.lua
--   P store                         where the trainings keep models and data, for who works on them beside the service
--   P jobs:<caller>                 zset  every id of that caller -> place, for lists; caller: the id of an API key, or nothing
--   P key:<caller>:<hash>           string  "<id> <fingerprint>" of an Idempotency-Key, as long as the record
--   P deadlines                     zset  ids that expire unless they have started -> when
--   P canceling:<kind>              zset  owners that have a job which is to be stopped -> since when
--   P stopped:<owner>               string  claims nothing any more: its process is being ended
--   P speed:<lane>                  string  jobs a second of one owner, lately
--   P delayed                       zset  deliveries (jobs "wh-<id>" of the lane webhook) that failed -> when to try again
--   P delayed:bytes                 their payloads together
--   P failed                        list  ids that failed and are to be logged;  P failed-unlogged: how many were left out
--   P failed:<reader>               list  those that a reader logs now
--   P sequence, P secret, P finals (channel: records that became final)
--
-- A job waits in (lane, group), a group being "<model>/<version>".

local finals, finished, counts, touched, done, failed = {}, {}, {}, {}, {}, {}
local MOST_PUSHED = 4000  -- bytes of a result that is pushed to those who wait; a larger one they read
local AT_ONCE = 500  -- arguments of one command
local MOST_UNLOGGED = 10000
local MOST_KNOCKS = 16
local SOON = 10  -- ms
local BULK = 2  -- a group of which more than so many full claims wait is a backlog
local BULK_RESTS = 19  -- times as long as its last claim took, while others are asked for …
local LATELY = 100  -- … within so many ms
local LONGEST_BULK = 5000  -- ms, for a claim whose owner does not come back
local MOST_LOOKED_AT = 20  -- groups
local MOST_EXPIRED = 100  -- by one script: each takes a tenth of a millisecond
local LEARNED = 0.1  -- share of the last work in what is known of a lane's speed
local LONGEST_RETRY = 60  -- s
local NOBODY_RETRY = 5  -- s, while nobody is there to do it
local EXPIRED = '{"type":"expired","detail":"The job had not started when its deadline came."}'
local CANCELED = '{"type":"canceled","detail":"The job was canceled before it started."}'
local STOPPED = '{"type":"canceled","detail":"The job was canceled while it ran; its work was thrown away."}'

local function job_key(id) return P .. 'job:' .. id end
local function lane_key(lane) return P .. 'lane:' .. lane end
local function kind_of(lane) return string.match(lane, '^[^.]+') end

-- The last of so many numbers in a row.
local function next_in_sequence(many) return redis.call('INCRBY', P .. 'sequence', many or 1) end

-- A command for many members, a part at a time: unpack has a limit.
local function in_parts(command, key, members)
  for first = 1, #members, AT_ONCE do
    redis.call(command, key, unpack(members, first, math.min(first + AT_ONCE - 1, #members)))
  end
end

local function count_waiting(lane, jobs, rows, bytes)
  local count = counts[lane]
  if count then
    count[1], count[2], count[3] = count[1] + jobs, count[2] + rows, count[3] + bytes
  else
    counts[lane] = {jobs, rows, bytes}
  end
end

-- The group may be claimed, in its turn: turns and places are of one sequence, so work given back to its old place also
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

-- A job of its own, in the lane webhook: to tell the end of another. Its group is the host that is told.
local function wait_for_delivery(id, host)
  local delivery, group, place = 'wh-' .. id, host .. '/0', next_in_sequence()
  redis.call('HSET', job_key(delivery), 'kind', 'webhook', 'state', 'queued', 'lane', 'webhook', 'group', group, 'rows', 1,
    'bytes', #id, 'created_at', now, 'place', place, 'options', '{}', 'payload', id, 'cost', DELIVERY_OVERHEAD)
  count_memory(DELIVERY_OVERHEAD, 0, 0)
  redis.call('ZADD', lane_key('webhook') .. ':waiting:' .. group, place, delivery)
  count_waiting('webhook', 1, 1, #id)
  open_group('webhook', group, place)
end

-- What finalize is to know of a job, and its state and fence.
local function open_job(id)
  return redis.call('HMGET', job_key(id), 'kind', 'group', 'rows', 'attempts', 'created_at', 'started_at', 'worker', 'awaited',
    'caller', 'more', 'expires_at', 'deliver_to', 'lane', 'canceling', 'cost', 'room', 'state', 'fence')
end

-- The one way a job becomes final. Whoever holds it has let it go before. The first write of a script that ends jobs is a
-- ZREM: at maxmemory Redis refuses a script whose first write allocates. ``was`` is what open_job found, if it was asked already.
local function finalize(id, state, field, body, was)
  local job = job_key(id)
  was = was or open_job(id)
  count_memory(0 - (was[15] or 0), 0 - (was[16] or 0), 0)
  if was[1] == 'webhook' then return redis.call('DEL', job) end
  redis.call('HDEL', job, 'payload', 'options', 'lane', 'bytes', 'place', 'fence', 'alone', 'deaths', 'lapses', 'after', 'awaited',
    'progress', 'deliver_to', 'canceling', 'cost', 'room')
  redis.call('HSET', job, 'state', state, 'finished_at', now, field, body)
  finished[#finished + 1] = id
  if state == 'failed' then failed[#failed + 1] = id end
  if was[11] then redis.call('ZREM', P .. 'deadlines', id) end
  if was[14] then redis.call('ZREM', P .. 'canceling:' .. kind_of(was[13]), was[7]) end
  if was[12] then wait_for_delivery(id, was[12]) end
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
  if #body > MOST_PUSHED then
    finals[#finals + 1] = {id}
  else
    local result, failure = field == 'result' and body or '', field == 'error' and body or ''
    finals[#finals + 1] = {id, was[1], state, was[2], was[3], was[4] or '', was[5], was[6] or '', tostring(now), was[7] or '',
      result, failure, '', was[9] or '', was[10] or '', was[11] or '', '', '', '', ''}
  end
end

-- Write what was counted, and push what became final. Every script that changes jobs ends with it.
local function settle()
  for lane, count in pairs(counts) do
    for at, field in ipairs({'jobs', 'rows', 'bytes'}) do
      if count[at] ~= 0 then redis.call('HINCRBY', lane_key(lane), field, count[at]) end
    end
  end
  save_memory_change()
  keep_clock()
  if #finished > 0 then
    local scored = {}
    for at, id in ipairs(finished) do scored[2 * at - 1], scored[2 * at] = now, id end
    in_parts('ZADD', P .. 'finished', scored)
    redis.call('PUBLISH', P .. 'finals', cmsgpack.pack(finals))
  end
  if #failed > 0 then
    in_parts('RPUSH', P .. 'failed', failed)
    local beyond = redis.call('LLEN', P .. 'failed') - MOST_UNLOGGED
    if beyond > 0 then
      redis.call('LTRIM', P .. 'failed', beyond, -1)
      redis.call('INCRBY', P .. 'failed-unlogged', beyond)
    end
  end
  for lane, work in pairs(done) do
    local known, last = tonumber(redis.call('GET', P .. 'speed:' .. lane)), 1000 * work[1] / work[2]
    redis.call('SET', P .. 'speed:' .. lane, known and known + LEARNED * (last - known) or last)
  end
  finals, finished, counts, done, failed = {}, {}, {}, {}, {}
end

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

-- Ends the jobs that had not started when their deadline came. Returns how many it looked at.
local function expire_due(most)
  if unsure then return 0 end
  local due = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, most)
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

local function wait_again(id, alone)
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

-- The owner neither works nor lingers any more.
local function stop_serving(kind, owner)
  for _, set in ipairs({'serving:', 'lingering:', 'woken:', 'back:'}) do redis.call('ZREM', P .. set .. kind, owner) end
  redis.call('DEL', P .. 'owner:' .. owner, P .. 'wake:' .. owner)
  touched[kind] = true
end

-- Take an owner's work out of its hands. why:
--   released   not its fault, no attempt counted, back to its old place; left: the same, and the owner has gone for good
--   isolated   one of the group may be at fault: each is claimed alone from now on
--   died       as isolated; a job that was alone counts a death, and the last allowed one fails it
--   lapsed     the same for a lease that ran out, which is more often the network's fault: with a count of its own
--   timed_out  as isolated; a job that was alone fails
local function take_back(kind, owner, why, most, error_body)
  local held = redis.call('ZRANGE', P .. 'held:' .. owner, 0, -1)
  stop_serving(kind, owner)
  redis.call('DEL', P .. 'held:' .. owner)
  for _, id in ipairs(held) do
    local fails = #held == 1 and why == 'timed_out'
    local counted = why == 'died' and 'deaths' or why == 'lapsed' and 'lapses'
    if #held == 1 and counted then fails = redis.call('HINCRBY', job_key(id), counted, 1) >= most end
    if redis.call('HEXISTS', job_key(id), 'canceling') == 1 then
      finalize(id, 'canceled', 'error', STOPPED)
    elseif fails then
      finalize(id, 'failed', 'error', error_body)
    else
      local innocent = why == 'released' or why == 'left'
      if innocent then redis.call('HINCRBY', job_key(id), 'attempts', -1) end
      wait_again(id, not innocent)
    end
  end
  return #held
end

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
