-- add: accept jobs. ARGV: not_after, wakeup timeout in ms, lane_jobs, lane_rows, lane_bytes ('': as many as there is room for), and
-- for each job
--   id, kind, lane, model, version, rows, options, after, payload, maximum bytes of its result, its precondition: hash key (without
--   P; '' for none), field, value, and its submit options: '' or packed {caller, ms until it expires or 0, hash of the
--   Idempotency-Key, fingerprint of the request, host of its webhook, metadata as JSON}
-- Returns {clock, outcomes, wakeups, created_at of the added jobs}. The outcome for an added job is the seconds until the client
-- should poll; for others it is {exists|repeated|key-reused|lane-full|full|too-large|after-failed|moved, created_at, state, id,
-- seconds until the client should poll}. For too-large the last item is the maximum bytes that the job would take, and one more
-- item follows: the bytes that a job may take.
local not_after, wakeup_timeout = tonumber(ARGV[1]), tonumber(ARGV[2])
local bounds = {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]) or memory_now().room}
local PER_JOB = 14
if clock > not_after then return {clock, 'late', {}} end
local full = memory_now().full
if full then return {clock, 'full', {full}} end

local job_count = (#ARGV - 5) / PER_JOB
local place = next_in_sequence(job_count) - job_count
local expected, opened, listed, waiting, added = {}, {}, {}, {}, {}
local DEFAULT_OPTIONS, NO_FIELDS = {'', 0, '', '', '', ''}, {}
local FULL_RETRY_AFTER = 2  -- s

-- The number of webhook deliveries that wait, for a first or another attempt.
local function deliveries()
  return load_of('webhook')[1] + redis.call('ZCARD', P .. 'delayed')
end

local function holds(key, field, value)
  if key == '' then return true end
  local name = key .. ' ' .. field
  if expected[name] == nil then expected[name] = redis.call('HGET', P .. key, field) end
  return expected[name] == value
end

-- The outcome for a job that was accepted before under this Idempotency-Key, if any.
local function repeated(options)
  local known = options[3] ~= '' and redis.call('GET', P .. 'key:' .. options[1] .. ':' .. options[3])
  if not known then return nil end
  local id, fingerprint = string.match(known, '^(%S+) (%S+)$')
  if fingerprint ~= options[4] then return {'key-reused', now, '', id, 0} end
  local found = redis.call('HMGET', job_key(id), 'created_at', 'state')
  if not found[2] then return nil end
  return {'repeated', tonumber(found[1]), found[2], id, 1}
end

-- The fields and values of the record that come from its submit options.
local function option_fields(id, options)
  local caller, expires_in, key, fingerprint, host, metadata = unpack(options)
  local fields = {}
  local function add_field(field, value) fields[#fields + 1], fields[#fields + 2] = field, value end
  if caller ~= '' then add_field('caller', caller) end
  if metadata ~= '' then add_field('more', metadata) end
  if host ~= '' then add_field('deliver_to', host) end
  if expires_in > 0 then
    add_field('expires_at', now + expires_in)
    redis.call('ZADD', P .. 'deadlines', now + expires_in, id)
  end
  if key ~= '' then
    add_field('key', key)
    redis.call('SET', P .. 'key:' .. caller .. ':' .. key, id .. ' ' .. fingerprint)
  end
  return fields
end

-- Whether any of the jobs exists already. Usually none does, and this takes one command.
local function any_known()
  local keys, known = {}, 0
  for at = 6, #ARGV, PER_JOB do keys[#keys + 1] = job_key(ARGV[at]) end
  for first = 1, #keys, MAX_ARGUMENTS do
    known = known + redis.call('EXISTS', unpack(keys, first, math.min(first + MAX_ARGUMENTS - 1, #keys)))
  end
  return known > 0
end
local check_each = any_known()

-- The outcome for a job with this id that was accepted before, if any.
local function known(id)
  if not check_each and not added[id] then return nil end
  local found = redis.call('HMGET', job_key(id), 'state', 'created_at')
  return found[1] and {'exists', tonumber(found[2]), found[1], id, 1}
end

-- Collects members of sorted sets, with their scores, to be added together.
local function collect(sets, name, score, member)
  local members = sets[name]
  if not members then members = {}; sets[name] = members end
  members[#members + 1], members[#members + 2] = score, member
end

local function add(at)
  local id, kind, lane, model, version = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local rows, options, after, payload = tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
  local job = job_key(id)
  local existing = known(id)
  if existing then return existing end
  local submit_options = ARGV[at + 13] == '' and DEFAULT_OPTIONS or cmsgpack.unpack(ARGV[at + 13])
  local before = repeated(submit_options)
  if before then return before end
  if not holds(ARGV[at + 10], ARGV[at + 11], ARGV[at + 12]) then return {'moved', now, '', id, 1} end

  local held = false
  if after ~= '' then
    local state = redis.call('HGET', job_key(after), 'state')
    if not state or state == 'failed' or state == 'canceled' or state == 'expired' then
      return {'after-failed', now, '', id, 1}
    end
    held = state ~= 'succeeded'
  end

  if submit_options[5] ~= '' and deliveries() >= bounds[1] then return {'lane-full', now, '', id, MAX_RETRY_AFTER} end
  local load = load_of(lane)
  if load[1] >= bounds[1] or load[2] + rows > bounds[2] or load[3] + #payload > bounds[3] then
    return {'lane-full', now, '', id, retry_after(lane, math.ceil(load[1] / 20))}
  end
  local cost = OPEN_OVERHEAD + #payload + #options + #submit_options[6]
  local room = math.max(0, tonumber(ARGV[at + 9]) + #submit_options[6] + RECORD_OVERHEAD - cost)
  if submit_options[5] ~= '' then room = room + DELIVERY_OVERHEAD end
  if cost + room > memory_now().largest then return {'too-large', now, '', id, cost + room, memory_now().largest} end
  if not make_room(cost + room) then return {'full', now, '', id, FULL_RETRY_AFTER} end
  count_memory(cost, room, 0)

  place = place + 1
  local group = model .. '/' .. version
  redis.call('HSET', job, 'kind', kind, 'state', 'queued', 'lane', lane, 'group', group,
    'rows', rows, 'bytes', #payload, 'created_at', now, 'place', place, 'options', options, 'payload', payload, 'cost', cost,
    'room', room, unpack(submit_options == DEFAULT_OPTIONS and NO_FIELDS or option_fields(id, submit_options)))
  added[id] = true
  collect(waiting, lane_key(lane) .. ':waiting:' .. group, place, id)
  count_waiting(lane, 1, rows, #payload)
  collect(listed, P .. 'jobs:' .. submit_options[1], place, id)
  if after ~= '' then redis.call('HSET', job, 'after', after) end
  if held then
    redis.call('SADD', P .. 'after:' .. after, lane .. ' ' .. group)
    redis.call('HSET', job_key(after), 'awaited', 1)
  elseif not opened[lane .. ' ' .. group] then
    opened[lane .. ' ' .. group] = true
    open_group(lane, group, place)
  end
  return retry_after(lane, load[1])
end

local outcomes = {}
for at = 6, #ARGV, PER_JOB do outcomes[#outcomes + 1] = add(at) end
for _, sets in ipairs({waiting, listed}) do
  for key, members in pairs(sets) do in_parts('ZADD', key, members) end
end
save_counts()
return {clock, outcomes, wakeups_to_send(wakeup_timeout), now}
