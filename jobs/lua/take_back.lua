-- take_back: an owner's work goes back to its lanes. ARGV: kind, owner, why, most deaths, error body, bell, not_after.
-- An owner that died or left is forgotten. Returns {clock, number of jobs, or -1 if it came too late, rings}.
local kind, owner, why = ARGV[1], ARGV[2], ARGV[3]
if clock > tonumber(ARGV[7]) then return {clock, -1, {}} end
if why == 'died' or why == 'left' then redis.call('ZREM', P .. 'owners:' .. kind, owner) end
if why == 'died' then redis.call('DEL', P .. 'stopped:' .. owner) end
local count = take_back(kind, owner, why, tonumber(ARGV[4]), ARGV[5])
settle()
return {clock, count, bells_to_ring(tonumber(ARGV[6]))}
