"""The format of a play, as `famulus demo --help` prints it. Imported when only help is wanted."""

from __future__ import annotations

from typing import Final

PLAY_FORMAT: Final = r"""
A play is a text file. Each line begins with what it is:

    # a comment; empty lines are comments too
    > hello                  the user says this
    | and this               ... a further line of the same message
    < offline demo model     a reply to it contains this (letter case counts)
    <~ ^It is \d+            ... or matches this regular expression; ^ and $ fit at every line
    <! error                 no reply to it so far contains this
    ! seen                   wait until the daemon has received what was said last
    ! restart                kill the daemon (SIGKILL) and start it again
    ! timeout 20             seconds that each expected reply may take from here on (15 at first)
    ! neighbours             the play is played among a web server, called {neighbour} in what the
                             user says, a search engine, an MCP server and a specialist
    @code                    from here on: only where code tools can run ...
    @nocode                  ... only where they cannot ...
    @always                  ... in any case again

"A reply to it" is any message that the chat shows after the last `>` line, as it reads when it is
looked at: an answer in several messages, or one that is edited, is found wherever it stands.
A picture or document reads `[picture NAME, SIZE kB]`, below its caption if it has one.
Several expectations after one `>` line may be met by one message. `! restart` between `>` and `<`
checks that an answer survives the daemon. A play named by a word and not by a file is one that is
shipped: `famulus demo --play main`.
"""
