-- condition: the state of the service's parts, read in one step. ARGV: the kinds of workers. Returns {ms since the reconciler's
-- last round (-1: there was none), why no jobs are accepted ('': they are), bytes in use except for results that may be deleted,
-- the limit of these bytes (-1: unknown), bytes of open jobs, for each kind {live workers, ms since one was last live (-1:
-- never), ms for which jobs have waited without a serving worker}, and three flat lists: groups that a worker of the first kind
-- could not load and why, groups that another one has loaded, problems that parts have reported and their details}.
local kinds = {}
for at, kind in ipairs(ARGV) do
  local seen = tonumber(redis.call('HGET', P .. 'seen', kind))
  local starved = tonumber(redis.call('GET', P .. 'starved:' .. kind))
  local waits = starved and starved < now and waiting_of(kind) > 0
  kinds[at] = {redis.call('ZCOUNT', P .. 'owners:' .. kind, now, '+inf'), seen and math.max(0, now - seen) or -1,
    waits and now - starved or 0}
end

-- The unexpired fields of a hash whose values are "<expiry> <text>".
local function unexpired(key)
  local found, all = {}, redis.call('HGETALL', P .. key)
  for at = 1, #all, 2 do
    local until_, text = string.match(all[at + 1], '^(%d+) ?(.*)$')
    if until_ and tonumber(until_) >= now then found[#found + 1], found[#found + 2] = all[at], text end
  end
  return found
end

local memory_state = memory_now()
local bytes = redis.call('HMGET', P .. 'memory', 'finished', 'open')
return {last_round and math.max(0, now - last_round) or -1, memory_state.full or '', memory_state.taken - (bytes[1] or 0),
  memory_state.room < math.huge and memory_state.room or -1, tonumber(bytes[2] or 0), kinds,
  unexpired('unloadable:' .. ARGV[1]), unexpired('loadable:' .. ARGV[1]), unexpired('reports')}
