-- take_back: an owner's work goes back to its lanes. ARGV: kind, owner, why, max_deaths, error body, bell.
-- An owner that died or left is forgotten. Returns {number of jobs, rings}.
local kind, owner, why = ARGV[1], ARGV[2], ARGV[3]
if why == 'died' or why == 'left' then redis.call('ZREM', P .. 'owners:' .. kind, owner) end
local count = take_back(owner, why, tonumber(ARGV[4]), ARGV[5])
announce()
return {count, bells_to_ring(tonumber(ARGV[6]))}
