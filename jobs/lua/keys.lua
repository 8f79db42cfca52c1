-- The ledger's keys.
--
--   P job:<id>                      hash  the record
--   P lane:<lane>                   hash  jobs, rows, bytes that wait
--   P lane:<lane>:groups            zset  groups that may be claimed -> turn (lowest next)
--   P lane:<lane>:waiting:<group>   zset  ids that wait -> place
--   P bells:<kind>                  zset  knocks on their way -> expiry
--   P serving:<kind>                zset  owners at work, or lingering -> expiry
--   P lingering:<kind>              zset  owners that wait for more work -> expiry
--   P back:<kind>                   zset  owners at work -> when they expect to ask for more
--   P woken:<kind>                  zset  lingerers that have been woken and not come yet -> expiry
--   P wake:<owner>                  list  what wakes one that lingers
--   P bulk:<kind>                   hash  owner, since: the last claim of a backlog; until: when the next may be made
--   P asked:<kind>                  time when others than the backlog were last claimed
--   P starved:<kind>                time since when work has waited with nobody serving
--   P unloadable:<kind>             hash  groups that a worker could not load -> until when to tell, and why
--   P loadable:<kind>               hash  of these, groups that another worker has loaded -> until when to tell
--   P seen                          hash  kind -> when one of its workers last renewed its lease
--   P reports                       hash  problems that a part has with what is outside of the ledger -> until when, and its words
--   P owners:<kind>                 zset  live worker processes -> end of lease
--   P owner:<owner>                 string  token of the claim in hand
--   P held:<owner>                  zset  ids in the owner's hands -> order of the claim
--   P after:<id>                    set   "<lane> <group>" that wait for this job to end
--   P finished                      zset  final ids -> time
--   P memory                        hash  see memory.lua;  P clock: see clock.lua
--   P store                         where the trainings keep models and data, for who works on them beside the service
--   P jobs:<caller>                 zset  every id of that caller -> place, for lists; caller: the id of an API key, or nothing
--   P key:<caller>:<hash>           string  "<id> <fingerprint>" of an Idempotency-Key, as long as the record
--   P deadlines                     zset  ids that expire unless they have started -> when
--   P canceling:<kind>              zset  owners that have a job which is to be stopped -> since when
--   P stopped:<owner>               string  claims nothing any more: its process is being ended
--   P speed:<lane>                  string  jobs a second of one owner, lately
--   P delayed                       zset  deliveries (jobs "wh-<id>" of the lane webhook) that failed -> when to try again
--   P delayed:bytes                 their payloads together
--   P failed                        list  ids that failed and are to be logged;  P failed-unlogged: how many were left out
--   P failed:<reader>               list  those that a reader logs now
--   P sequence, P secret, P finals (channel: records that became final)
--
-- A job waits in (lane, group), a group being "<model>/<version>".

local AT_ONCE = 500  -- arguments of one command
local MOST_LOOKED_AT = 20  -- groups

local function job_key(id) return P .. 'job:' .. id end
local function lane_key(lane) return P .. 'lane:' .. lane end
local function kind_of(lane) return string.match(lane, '^[^.]+') end

-- The last of so many numbers in a row.
local function next_in_sequence(many) return redis.call('INCRBY', P .. 'sequence', many or 1) end

-- A command for many members, a part at a time: unpack has a limit.
local function in_parts(command, key, members)
  for first = 1, #members, AT_ONCE do
    redis.call(command, key, unpack(members, first, math.min(first + AT_ONCE - 1, #members)))
  end
end
