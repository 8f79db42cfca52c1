-- finish: end jobs under their current fence. ARGV: owner, bell, number of effects, per effect
--   hash key (without P), field, expected ('' for none), value, 1 if its first "@now" is to become the time
-- then per job id, fence, state, body.
-- Effects happen with the first job's end or not at all; one that does not fit changes nothing.
-- Returns {'done'|'conflict', outcomes, rings}; an outcome is finished, stopped (it was to be canceled, and is), or refused for a
-- stale fence.
local owner, bell, effects = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local PER_EFFECT = 5
local first_job = 4 + effects * PER_EFFECT
local ours, ids, outcomes, stopped = {}, {}, {}, {}

for at = first_job, #ARGV, 4 do
  local job = redis.call('HMGET', job_key(ARGV[at]), 'state', 'worker', 'fence', 'canceling')
  if job[1] == 'running' and job[2] == owner and job[3] == ARGV[at + 1] and not ours[ARGV[at]] then
    ours[ARGV[at]] = at
    ids[#ids + 1] = ARGV[at]
    stopped[ARGV[at]] = job[4]
    outcomes[#outcomes + 1] = job[4] and 'stopped' or 'finished'
  else
    outcomes[#outcomes + 1] = 'refused'
  end
end

local first_effect = 4
if effects > 0 then
  if not ours[ARGV[first_job]] then return {'done', {'refused'}, {}} end
  if stopped[ARGV[first_job]] then first_effect = first_job end
  for at = first_effect, first_job - 1, PER_EFFECT do
    local value = redis.call('HGET', P .. ARGV[at], ARGV[at + 1]) or ''
    if value ~= ARGV[at + 2] then return {'conflict', {}, {}} end
  end
end

in_parts('ZREM', P .. 'held:' .. owner, ids)
for _, id in ipairs(ids) do
  local at = ours[id]
  if stopped[id] then
    finalize(id, 'canceled', 'error', STOPPED)
  else
    finalize(id, ARGV[at + 2], ARGV[at + 2] == 'succeeded' and 'result' or 'error', ARGV[at + 3])
  end
end
for at = first_effect, first_job - 1, PER_EFFECT do
  local value = ARGV[at + 3]
  if ARGV[at + 4] == '1' then value = string.gsub(value, '"@now"', string.format('%d', now), 1) end
  redis.call('HSET', P .. ARGV[at], ARGV[at + 1], value)
end
settle()
return {'done', outcomes, bells_to_ring(bell)}
