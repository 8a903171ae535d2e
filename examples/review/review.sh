#!/bin/sh
# What a pull request would do, on any CI and any of the forges: GitHub, Gitea, Forgejo, GitLab. The token is in MLOPS_FORGE_TOKEN.
#
#   FORGE=gitea API=https://git.example.org/api/v1 REPOSITORY=team/toolkit NUMBER=7 BASE=origin/main ./review.sh
set -eu
: "${MLOPS_FORGE_TOKEN:?put the token of the forge into it}"
exec reconcile review --forge "$FORGE" --api "$API" --repository "$REPOSITORY" --number "$NUMBER" \
    --commit "${COMMIT:-$(git rev-parse HEAD)}" --base "${BASE:-origin/main}" --out "${PLAN:-plan.json}"
