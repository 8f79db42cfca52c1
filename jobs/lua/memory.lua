-- The memory of Redis that jobs use. A job is accepted if there is room for it and for its largest possible result.
--
--   P memory  hash  open      bytes of the open jobs, deliveries among them
--                   promised  bytes reserved for their results
--                   finished  bytes of the final records
--                   used, known  bytes that Redis used, and of these open or finished, at the reconciler's last check
--                   room      limit in bytes of all stored data; largest: limit of one job
--                   full, full_until  why no jobs are accepted, and until when this holds

local OPEN_OVERHEAD = 1100  -- bytes of an open job in addition to its payload, options and metadata
local DELIVERY_OVERHEAD = 900
local RECORD_OVERHEAD = 600  -- of a final record
local MIN_RESULT_AGE = 5000  -- ms; a younger result is never deleted for another job
local MAX_DELETED = 500  -- in one script

local memory_change = {open = 0, promised = 0, finished = 0}

local function count_memory(open, promised, finished)
  memory_change.open = memory_change.open + open
  memory_change.promised = memory_change.promised + promised
  memory_change.finished = memory_change.finished + finished
end

local function save_memory_change()
  local change = memory_change
  if change.open == 0 and change.promised == 0 and change.finished == 0 then return end
  local stored = redis.call('HMGET', P .. 'memory', 'open', 'promised', 'finished')
  redis.call('HSET', P .. 'memory', 'open', (stored[1] or 0) + change.open, 'promised', (stored[2] or 0) + change.promised,
    'finished', (stored[3] or 0) + change.finished)
  memory_change = {open = 0, promised = 0, finished = 0}
end

local memory
-- The memory as it was when this script started.
local function memory_now()
  if not memory then
    local found = redis.call('HMGET', P .. 'memory', 'open', 'promised', 'finished', 'used', 'known', 'room', 'largest', 'full',
      'full_until')
    local function number(at) return tonumber(found[at] or 0) end
    local open, promised, finished = number(1), number(2), number(3)
    memory = {
      finished = finished,
      taken = math.max(0, number(4) - number(5)) + open + promised + finished,
      room = tonumber(found[6]) or math.huge,
      largest = tonumber(found[7]) or math.huge,
      full = found[8] and number(9) > now and found[8] or nil,
    }
  end
  return memory
end

-- Deletes a final record. Returns its size in bytes.
local function delete_record(id)
  local job = P .. 'job:' .. id
  local was = redis.call('HMGET', job, 'caller', 'key')
  redis.call('ZREM', P .. 'finished', id)
  redis.call('ZREM', P .. 'jobs:' .. (was[1] or ''), id)
  if was[2] then redis.call('DEL', P .. 'key:' .. (was[1] or '') .. ':' .. was[2]) end
  local size = RECORD_OVERHEAD
  for _, field in ipairs({'result', 'error', 'more', 'deliveries'}) do size = size + redis.call('HSTRLEN', job, field) end
  redis.call('DEL', job)
  count_memory(0, 0, 0 - size)
  return size
end

-- Reserves bytes, and deletes the oldest records for that if needed. Returns whether there is room.
local deletions_left = MAX_DELETED
local function make_room(bytes)
  local state = memory_now()
  if state.taken - state.finished + bytes > state.room then return false end  -- even if all finished records were deleted
  while state.taken + bytes > state.room do
    local oldest = redis.call('ZRANGE', P .. 'finished', 0, 0, 'WITHSCORES')
    if deletions_left == 0 or #oldest == 0 or now - oldest[2] < MIN_RESULT_AGE then return false end
    deletions_left = deletions_left - 1
    local size = delete_record(oldest[1])
    state.taken, state.finished = state.taken - size, state.finished - size
  end
  state.taken = state.taken + bytes
  return true
end
