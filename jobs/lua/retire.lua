-- retire: delete a version that is not in use. ARGV: hash key of its model (without P), version, group, force (1: even if an open
-- job names it). Returns retired, or why the version stays: aliased, open, missing.
local model, version, group, force = P .. ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'

local function is_aliased()
  local fields = redis.call('HGETALL', model)
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 6) == 'alias:' and fields[at + 1] == version then return true end
  end
  return false
end

local function is_open()
  for kind, lanes in pairs(LANES) do
    for _, lane in ipairs(lanes) do
      if redis.call('EXISTS', lane_key(lane) .. ':waiting:' .. group) == 1 then return true end
    end
    for _, owner in ipairs(redis.call('ZRANGE', P .. 'owners:' .. kind, 0, -1)) do
      local first = redis.call('ZRANGE', P .. 'held:' .. owner, 0, 0)[1]  -- a claim is of one group
      if first and redis.call('HGET', job_key(first), 'group') == group then return true end
    end
  end
  return false
end

if is_aliased() then return 'aliased' end
if not force and is_open() then return 'open' end
if redis.call('HEXISTS', model, 'card:' .. version) == 0 then return 'missing' end
redis.call('HDEL', model, 'card:' .. version, 'kept:' .. version, 'note:' .. version, 'adopted:' .. version)
return 'retired'
