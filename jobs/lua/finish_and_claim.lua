-- finish_and_claim: finish, and then claim, in one step. ARGV: the number of finish's arguments, these arguments, and those of
-- claim. Returns both replies.
local finish_arguments, claim_arguments = {}, {}
local last_of_finish = 1 + ARGV[1]
for at = 2, last_of_finish do finish_arguments[at - 1] = ARGV[at] end
for at = last_of_finish + 1, #ARGV do claim_arguments[at - last_of_finish] = ARGV[at] end
return {finish(finish_arguments), claim(claim_arguments)}
