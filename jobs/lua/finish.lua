-- finish: end jobs under their current fence. ARGV: owner, wakeup timeout in ms, number of changes, for each change
--   hash key (without P), field, expected ('' for none), value, 1 to replace its first "@now" by the time
-- and for each job id, fence, state, body.
-- The changes happen with the end of the first job or not at all; if a value is not as expected, nothing changes.
-- Returns {'done'|'conflict'|'no-room', outcomes, wakeups}; an outcome is finished, too-large (the job failed, because Redis has no
-- room for its result), stopped (it was being canceled), or refused for a stale fence. 'no-room': there is no room for the changes,
-- and nothing has changed.
local owner, wakeup_timeout, changes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first_job = 4 + changes * PER_CHANGE
local ours, found, ids, outcomes, too_large, change_bytes = {}, {}, {}, {}, {}, 0

-- Whether there is room for what a job's end takes beyond its reservation. A job from before there were reservations always fits.
local function fits(cost, room, bytes)
  local beyond = bytes + RECORD_OVERHEAD - (cost or math.huge) - (room or 0)
  return beyond <= 0 or make_room(beyond)
end

for at = 4, first_job - 1, PER_CHANGE do change_bytes = change_bytes + #ARGV[at + 3] end

for at = first_job, #ARGV, 4 do
  local id, job = ARGV[at], open_job(ARGV[at])
  local worker, canceling, cost, room, state, fence = job[7], job[14], job[15], job[16], job[17], job[18]
  if state == 'running' and worker == owner and fence == ARGV[at + 1] and not ours[id] then
    ours[id], found[id] = at, job
    ids[#ids + 1] = id
    local bytes = #ARGV[at + 3] + (at == first_job and change_bytes or 0)
    if not canceling and not fits(cost, room, bytes) then
      if at == first_job and changes > 0 then
        save_memory_change()  -- of the records that were deleted for it
        return {'no-room', {}, {}}
      end
      too_large[id] = true
    end
    outcomes[#outcomes + 1] = canceling and 'stopped' or too_large[id] and 'too-large' or 'finished'
  else
    outcomes[#outcomes + 1] = 'refused'
  end
end

local function stopped(id) return found[id][14] end

local first_change = 4
if changes > 0 then
  if not ours[ARGV[first_job]] then return {'done', {'refused'}, {}} end
  if stopped(ARGV[first_job]) then first_change = first_job end
  if not all_as_expected(P, ARGV, first_change, first_job - 1) then
    save_memory_change()
    return {'conflict', {}, {}}
  end
end

in_parts('ZREM', P .. 'held:' .. owner, ids)
for _, id in ipairs(ids) do
  local at = ours[id]
  if stopped(id) then
    finalize(id, 'canceled', 'error', STOPPED, found[id])
  elseif too_large[id] then
    finalize(id, 'failed', 'error', NO_ROOM, found[id])
  else
    finalize(id, ARGV[at + 2], ARGV[at + 2] == 'succeeded' and 'result' or 'error', ARGV[at + 3], found[id])
  end
end
apply_changes(P, ARGV, first_change, first_job - 1, now)
settle()
return {'done', outcomes, wakeups_to_send(wakeup_timeout)}
