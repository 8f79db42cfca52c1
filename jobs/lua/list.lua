-- list: a caller's records, newest first, without results. ARGV: caller, place to begin below ('+inf': the newest), most to give,
-- most to look at, and what they must be, '' for anything: state, kind, model, label.
-- Returns packed {place, id} of each that fits, and the place at which it stopped looking, '' at the end.
local key, below, most, left = P .. 'jobs:' .. ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local state, kind, model, label = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local AT_A_TIME = 200
local found = {}

local function fits(id)
  local job = redis.call('HMGET', job_key(id), 'state', 'kind', 'group', 'more')
  if state ~= '' and job[1] ~= state or kind ~= '' and job[2] ~= kind then return false end
  local name = string.match(job[3] or '', '^(.*)/%d+$')
  if model ~= '' and name ~= model and name ~= ARGV[1] .. '.' .. model then return false end  -- a data set's has its caller before it
  return label == '' or (job[4] and cjson.decode(job[4]).label == label)
end

while #found < most and left > 0 do
  local page = redis.call('ZREVRANGEBYSCORE', key, '(' .. below, '-inf', 'WITHSCORES', 'LIMIT', 0, math.min(AT_A_TIME, left))
  if #page == 0 then return {cmsgpack.pack(found), ''} end
  for at = 1, #page, 2 do
    below, left = page[at + 1], left - 1
    if fits(page[at]) then found[#found + 1] = {below, page[at]} end
    if #found == most then break end
  end
end
return {cmsgpack.pack(found), below}
