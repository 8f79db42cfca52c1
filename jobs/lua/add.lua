-- add: accept jobs. ARGV: not_after, bell, lane_jobs, lane_rows, lane_bytes, then per job
--   id, kind, lane, model, version, rows, options, after, payload, and what must hold for it to be accepted: hash key
--   (without P; '' for nothing), field, value
-- Returns {now, outcomes, rings}; an outcome is {added|exists|lane-full|after-failed|moved, created_at, state}.
local not_after, bell = tonumber(ARGV[1]), tonumber(ARGV[2])
local bounds = {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}
local PER_JOB = 12
if now > not_after then return {now, 'late', {}} end
local full = redis.call('GET', P .. 'full')
if full then return {now, 'full', {full}} end

local many = (#ARGV - 5) / PER_JOB
local place = next_in_sequence(many) - many
local lanes, expected, opened = {}, {}, {}

-- What waits in the lane, those of this script included.
local function load_of(lane)
  if not lanes[lane] then
    local found = redis.call('HMGET', lane_key(lane), 'jobs', 'rows', 'bytes')
    lanes[lane] = {tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0)}
  end
  return lanes[lane]
end

local function holds(key, field, value)
  if key == '' then return true end
  local name = key .. ' ' .. field
  if expected[name] == nil then expected[name] = redis.call('HGET', P .. key, field) end
  return expected[name] == value
end

local function add(at)
  local id, kind, lane, model, version = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local rows, options, after, payload = tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
  local job = job_key(id)
  local known = redis.call('HMGET', job, 'state', 'created_at')
  if known[1] then return {'exists', tonumber(known[2]), known[1]} end
  if not holds(ARGV[at + 9], ARGV[at + 10], ARGV[at + 11]) then return {'moved', now, ''} end

  local held = false
  if after ~= '' then
    local state = redis.call('HGET', job_key(after), 'state')
    if not state or state == 'failed' or state == 'canceled' or state == 'expired' then
      return {'after-failed', now, ''}
    end
    held = state ~= 'succeeded'
  end

  local load = load_of(lane)
  if load[1] >= bounds[1] or load[2] + rows > bounds[2] or load[3] + #payload > bounds[3] then return {'lane-full', now, ''} end
  lanes[lane] = {load[1] + 1, load[2] + rows, load[3] + #payload}

  place = place + 1
  local group = model .. '/' .. version
  redis.call('HSET', job, 'kind', kind, 'state', 'queued', 'lane', lane, 'group', group,
    'rows', rows, 'bytes', #payload, 'created_at', now, 'place', place, 'options', options, 'payload', payload)
  redis.call('ZADD', lane_key(lane) .. ':waiting:' .. group, place, id)
  count_waiting(lane, 1, rows, #payload)
  if after ~= '' then redis.call('HSET', job, 'after', after) end
  if held then
    redis.call('SADD', P .. 'after:' .. after, lane .. ' ' .. group)
    redis.call('HSET', job_key(after), 'awaited', 1)
  elseif not opened[lane .. ' ' .. group] then
    opened[lane .. ' ' .. group] = true
    open_group(lane, group, place)
  end
  return {'added', now, 'queued'}
end

local outcomes = {}
for at = 6, #ARGV, PER_JOB do outcomes[#outcomes + 1] = add(at) end
settle()
return {now, outcomes, bells_to_ring(bell)}
