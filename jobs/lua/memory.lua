-- What jobs take of Redis's memory. A job is accepted when there is room for it and for the largest result that it may have.
--
--   P memory  hash  open      bytes of the open jobs, deliveries among them
--                   promised  bytes that their results may take beyond that
--                   finished  bytes of the final records
--                   used, known  what Redis used, and how much of it was open or finished, when the reconciler looked last
--                   room      bytes that jobs and all else may take together; largest: and one job
--                   full, full_until  why nothing is accepted, and until when that holds

local OPEN_OVERHEAD = 1100  -- bytes of an open job beside its payload, options and what else is known of it
local DELIVERY_OVERHEAD = 900
local RECORD_OVERHEAD = 600  -- of a final one
local FRESH = 5000  -- ms for which a result stays whatever comes
local MOST_FORGOTTEN = 500  -- at once
local NO_ROOM = '{"type":"result-too-large","detail":"The result is larger than what was reserved for it, and Redis has no room for more."}'

local memory_change = {open = 0, promised = 0, finished = 0}

local function count_memory(open, promised, finished)
  memory_change.open = memory_change.open + open
  memory_change.promised = memory_change.promised + promised
  memory_change.finished = memory_change.finished + finished
end

local function save_memory_change()
  for field, bytes in pairs(memory_change) do
    if bytes ~= 0 then redis.call('HINCRBY', P .. 'memory', field, bytes) end
    memory_change[field] = 0
  end
end

local memory
-- As it was when this script began.
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

-- Forget a final job. Returns the bytes that it took.
local function forget(id)
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

-- Whether so many bytes more may be taken, once the oldest results have left that are not fresh.
local left_to_forget = MOST_FORGOTTEN
local function make_room(bytes)
  local now_taken = memory_now()
  if now_taken.taken - now_taken.finished + bytes > now_taken.room then return false end  -- whatever left
  while now_taken.taken + bytes > now_taken.room do
    local oldest = redis.call('ZRANGE', P .. 'finished', 0, 0, 'WITHSCORES')
    if left_to_forget == 0 or #oldest == 0 or now - oldest[2] < FRESH then return false end
    left_to_forget = left_to_forget - 1
    local size = forget(oldest[1])
    now_taken.taken, now_taken.finished = now_taken.taken - size, now_taken.finished - size
  end
  now_taken.taken = now_taken.taken + bytes
  return true
end
