-- The head of every ledger script: the keys, and what the scripts share.
--
-- P is "<prefix>:1:", where 1 is the format of keys and records.
--   P job:<id>                      hash  the record
--   P lane:<lane>                   hash  jobs, rows, bytes that wait; starved_since
--   P lane:<lane>:groups            zset  groups that may be claimed -> turn (lowest next)
--   P lane:<lane>:waiting:<group>   zset  ids that wait -> place
--   P lane:<lane>:bells             zset  knocks on their way -> expiry
--   P lane:<lane>:serving           zset  owners at work on the lane -> expiry
--   P owners:<kind>                 zset  live worker processes -> end of lease
--   P owner:<owner>                 hash  kind, lane, token of the claim in hand
--   P held:<owner>                  zset  ids in the owner's hands -> order of the claim
--   P after:<id>                    set   "<lane> <group>" that wait for this job to end
--   P finished                      zset  final ids -> time;  P finished:bytes  their size
--   P sequence, P reconciled, P full, P secret, P finals (channel: ids that became final)
--
-- Time is Redis's, in milliseconds. A job waits in (lane, group), a group being "<model>/<version>".

local P = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local finals, touched = {}, {}
local RECORD_OVERHEAD = 600

local function job_key(id) return P .. 'job:' .. id end
local function lane_key(lane) return P .. 'lane:' .. lane end
local function kind_of(lane) return string.match(lane, '^[^.]+') end
local function next_in_sequence() return redis.call('INCR', P .. 'sequence') end

local function count_waiting(lane, jobs, rows, bytes)
  local key = lane_key(lane)
  redis.call('HINCRBY', key, 'jobs', jobs)
  redis.call('HINCRBY', key, 'rows', rows)
  redis.call('HINCRBY', key, 'bytes', bytes)
end

-- The group may be claimed, in its turn: turns and places are of one sequence, so work given back to its old place also
-- gets its turn back.
local function open_group(lane, group, turn)
  if redis.call('EXISTS', lane_key(lane) .. ':waiting:' .. group) == 1 then
    redis.call('ZADD', lane_key(lane) .. ':groups', 'LT', turn, group)
    touched[lane] = true
  end
end

local function enter_lane(id, lane, group, place, rows, bytes)
  redis.call('ZADD', lane_key(lane) .. ':waiting:' .. group, place, id)
  count_waiting(lane, 1, rows, bytes)
end

local function leave_lane(id, lane, group, rows, bytes)
  local waiting = lane_key(lane) .. ':waiting:' .. group
  redis.call('ZREM', waiting, id)
  if redis.call('EXISTS', waiting) == 0 then
    redis.call('ZREM', lane_key(lane) .. ':groups', group)
  end
  count_waiting(lane, -1, 0 - rows, 0 - bytes)  -- not -rows: Lua would write -0
end

-- The one way a job becomes final. Its first write is a ZREM: at maxmemory Redis refuses a script whose first write allocates.
local function finalize(id, state, field, body)
  local job = job_key(id)
  local was = redis.call('HMGET', job, 'state', 'owner', 'lane', 'group', 'rows', 'bytes')
  if was[1] == 'running' then
    redis.call('ZREM', P .. 'held:' .. was[2], id)
  else
    leave_lane(id, was[3], was[4], tonumber(was[5]), tonumber(was[6]))
  end
  redis.call('HDEL', job, 'payload', 'options', 'owner', 'lane', 'bytes', 'place', 'alone', 'deaths', 'lapses', 'after')
  redis.call('HSET', job, 'state', state, 'finished_at', now, field, body)
  redis.call('ZADD', P .. 'finished', now, id)
  redis.call('INCRBY', P .. 'finished:bytes', #body + RECORD_OVERHEAD)
  for _, place in ipairs(redis.call('SMEMBERS', P .. 'after:' .. id)) do
    local lane, group = string.match(place, '^(%S+) (.+)$')
    open_group(lane, group, next_in_sequence())
  end
  redis.call('DEL', P .. 'after:' .. id)
  finals[#finals + 1] = id
end

local function wait_again(id, alone)
  local job = job_key(id)
  local was = redis.call('HMGET', job, 'lane', 'group', 'rows', 'bytes', 'place')
  local place = was[5]
  if alone then
    place = next_in_sequence()
    redis.call('HSET', job, 'alone', 1, 'place', place)
  end
  redis.call('HSET', job, 'state', 'queued')
  redis.call('HDEL', job, 'owner')
  enter_lane(id, was[1], was[2], place, tonumber(was[3]), tonumber(was[4]))
  open_group(was[1], was[2], place)
end

-- Take an owner's work out of its hands. why:
--   released   not its fault, no attempt counted, back to its old place; left: the same, and the owner has gone for good
--   isolated   one of the group may be at fault: each is claimed alone from now on
--   died       as isolated; a job that was alone counts a death, and the last allowed one fails it
--   lapsed     the same for a lease that ran out, which is more often the network's fault: with a count of its own
--   timed_out  as isolated; a job that was alone fails
local function take_back(owner, why, most, error_body)
  local held = redis.call('ZRANGE', P .. 'held:' .. owner, 0, -1)
  redis.call('DEL', P .. 'held:' .. owner)
  for _, id in ipairs(held) do
    local fails = #held == 1 and why == 'timed_out'
    local counted = why == 'died' and 'deaths' or why == 'lapsed' and 'lapses'
    if #held == 1 and counted then fails = redis.call('HINCRBY', job_key(id), counted, 1) >= most end
    if fails then
      finalize(id, 'failed', 'error', error_body)
    else
      local innocent = why == 'released' or why == 'left'
      if innocent then redis.call('HINCRBY', job_key(id), 'attempts', -1) end
      wait_again(id, not innocent)
    end
  end
  local lane = redis.call('HGET', P .. 'owner:' .. owner, 'lane')
  if lane then
    redis.call('ZREM', lane_key(lane) .. ':serving', owner)
    touched[lane] = true
  end
  redis.call('DEL', P .. 'owner:' .. owner)
  return #held
end

-- How many knocks the touched lanes still need: as many as there are jobs to claim and live owners not at work on the
-- lane, less the knocks under way. Returns a flat list: lane, bell, lane, bell, …
local function bells_to_ring(lifetime)
  local rings = {}
  for lane in pairs(touched) do
    local key = lane_key(lane)
    redis.call('ZREMRANGEBYSCORE', key .. ':bells', '-inf', now)
    redis.call('ZREMRANGEBYSCORE', key .. ':bells', '(' .. (now + lifetime), '+inf')  -- rung before a clock was set back
    redis.call('ZREMRANGEBYSCORE', key .. ':serving', '-inf', now)
    if redis.call('EXISTS', key .. ':groups') == 1 then
      local waiting = tonumber(redis.call('HGET', key, 'jobs') or 0)
      local owners = redis.call('ZCOUNT', P .. 'owners:' .. kind_of(lane), now, '+inf')
      local free = owners - redis.call('ZCARD', key .. ':serving')
      local wanted = math.min(waiting, free, 16) - redis.call('ZCARD', key .. ':bells')
      for _ = 1, wanted do
        local bell = 'bell-' .. next_in_sequence()
        redis.call('ZADD', key .. ':bells', now + lifetime, bell)
        rings[#rings + 1] = lane
        rings[#rings + 1] = bell
      end
    end
  end
  return rings
end

local function announce()
  if #finals > 0 then redis.call('PUBLISH', P .. 'finals', table.concat(finals, ' ')) end
end
