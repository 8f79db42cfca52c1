-- list: a caller's jobs, newest first. ARGV: caller, place to start below ('+inf': the newest), maximum number to return, maximum
-- number to check, and filters, '' for any: state, kind, model, label.
-- Returns packed {place, id} of each matching job, and the place at which the search stopped, '' at the end.
local key, below, limit, left = P .. 'jobs:' .. ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local state, kind, model, label = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local PAGE_SIZE = 200
local found = {}

local function matches(id)
  local job = redis.call('HMGET', job_key(id), 'state', 'kind', 'group', 'more')
  if state ~= '' and job[1] ~= state or kind ~= '' and job[2] ~= kind then return false end
  local name = string.match(job[3] or '', '^(.*)/%d+$')
  if model ~= '' and name ~= model and name ~= ARGV[1] .. '.' .. model then return false end  -- data sets: "<caller>.<name>"
  return label == '' or (job[4] and cjson.decode(job[4]).label == label)
end

while #found < limit and left > 0 do
  local page = redis.call('ZREVRANGEBYSCORE', key, '(' .. below, '-inf', 'WITHSCORES', 'LIMIT', 0, math.min(PAGE_SIZE, left))
  if #page == 0 then return {cmsgpack.pack(found), ''} end
  for at = 1, #page, 2 do
    below, left = page[at + 1], left - 1
    if matches(page[at]) then found[#found + 1] = {below, page[at]} end
    if #found == limit then break end
  end
end
return {cmsgpack.pack(found), below}
