-- add: accept jobs. ARGV: not_after, bell, lane_jobs, lane_rows, lane_bytes, then per job
--   id, kind, lane, model, version, rows, options, after, payload
-- Returns {now, outcomes, rings}; an outcome is {added|exists|lane-full|after-failed, created_at, state}.
local not_after, bell = tonumber(ARGV[1]), tonumber(ARGV[2])
local max_jobs, max_rows, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if now > not_after then return {now, 'late', {}} end
local full = redis.call('GET', P .. 'full')
if full then return {now, 'full', {full}} end

local function add(at)
  local id, kind, lane, model, version = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local rows, options, after, payload = tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
  local known = redis.call('HMGET', job_key(id), 'state', 'created_at')
  if known[1] then return {'exists', tonumber(known[2]), known[1]} end

  local held = false
  if after ~= '' then
    local state = redis.call('HGET', job_key(after), 'state')
    if not state or state == 'failed' or state == 'canceled' or state == 'expired' then
      return {'after-failed', now, ''}
    end
    held = state ~= 'succeeded'
  end

  local waiting = redis.call('HMGET', lane_key(lane), 'jobs', 'rows', 'bytes')
  if tonumber(waiting[1] or 0) >= max_jobs or tonumber(waiting[2] or 0) + rows > max_rows
      or tonumber(waiting[3] or 0) + #payload > max_bytes then
    return {'lane-full', now, ''}
  end

  local place, group = next_in_sequence(), model .. '/' .. version
  redis.call('HSET', job_key(id), 'format', 1, 'kind', kind, 'state', 'queued', 'lane', lane, 'group', group,
    'rows', rows, 'bytes', #payload, 'created_at', now, 'place', place, 'options', options, 'payload', payload)
  enter_lane(id, lane, group, place, rows, #payload)
  if after ~= '' then redis.call('HSET', job_key(id), 'after', after) end
  if held then
    redis.call('SADD', P .. 'after:' .. after, lane .. ' ' .. group)
  else
    open_group(lane, group, place)
  end
  return {'added', now, 'queued'}
end

local outcomes = {}
for at = 6, #ARGV, 9 do outcomes[#outcomes + 1] = add(at) end
return {now, outcomes, bells_to_ring(bell)}
