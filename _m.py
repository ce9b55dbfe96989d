import src,sys
from pathlib import Path
from datakiln.results import RunResult
from datakiln.reports.page import write_page
import pandas as pd
f,name,fake=Path(sys.argv[1]),sys.argv[2],len(sys.argv)>3; r=RunResult.load(f/'result.json')
for i,s in enumerate(r.figures):
    if fake and s.ceiling is not None and s.better!='none' and s.ceiling_range is None:
        s.ceiling_range=[s.ceiling*.97,s.ceiling*1.03]; s.draws=10
        if s.floor is not None: s.floor_range=[s.floor*.98,s.floor*1.02]
csv=f/'synthetic.csv'
write_page(r,sorted((f/'plots').glob('*.png')),pd.read_csv(csv) if csv.exists() else None,pd.read_csv(f/'metrics.csv'),Path(f'/tmp/wt-out/shots/{name}.html'),(f/'config'/'config.yaml').read_text())
Path(f'/tmp/wt-out/shots/{name}-frame.html').write_text(f'<iframe src="{name}.html" style="width:390px;height:{sys.argv[4] if len(sys.argv)>4 else 3000}px;border:0"></iframe>')
