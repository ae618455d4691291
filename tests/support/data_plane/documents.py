"""Documents of trials, laboratories and others, in small."""

from typing import Any

ODM_13 = """<?xml version="1.0" encoding="UTF-8"?>
<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" xmlns:vendor="urn:vendor" ODMVersion="1.3.2" FileType="Transactional">
  <Study OID="ST.1"><MetaDataVersion OID="MDV.1" Name="v1">
    <ItemDef OID="IT.SEX" Name="Sex" DataType="text" Length="1"><Question><TranslatedText xml:lang="en">Sex at birth
      </TranslatedText></Question><CodeListRef CodeListOID="CL.SEX"/></ItemDef>
    <ItemDef OID="IT.AGE" Name="Age" DataType="integer"/>
    <CodeList OID="CL.SEX" Name="Sex" DataType="text">
      <CodeListItem CodedValue="1"><Decode><TranslatedText>male</TranslatedText></Decode></CodeListItem>
      <CodeListItem CodedValue="2"><Decode><TranslatedText>female</TranslatedText></Decode></CodeListItem>
    </CodeList>
  </MetaDataVersion></Study>
  <ClinicalData StudyOID="ST.1" MetaDataVersionOID="MDV.1">
    <SubjectData SubjectKey="001" vendor:Status="x">
      <StudyEventData StudyEventOID="SE.1" StudyEventRepeatKey="1"><FormData FormOID="F.1" FormRepeatKey="1">
        <ItemGroupData ItemGroupOID="IG.DM" ItemGroupRepeatKey="1" TransactionType="Insert">
          <AuditRecord EditPoint="DataManagement"><UserRef UserOID="U.1"/><LocationRef LocationOID="L.1"/>
            <DateTimeStamp>2024-02-29T10:00:00+01:00</DateTimeStamp><ReasonForChange>typed wrong</ReasonForChange>
          </AuditRecord>
          <ItemData ItemOID="IT.SEX" Value="1"/>
          <ItemData ItemOID="IT.AGE" Value="42"><MeasurementUnitRef MeasurementUnitOID="MU.Y"/></ItemData>
        </ItemGroupData>
        <ItemGroupData ItemGroupOID="IG.DM" ItemGroupRepeatKey="2">
          <ItemDataInteger ItemOID="IT.AGE">43</ItemDataInteger>
          <ItemData ItemOID="IT.SEX" IsNull="Yes"/>
        </ItemGroupData>
      </FormData></StudyEventData>
    </SubjectData>
    <SubjectData SubjectKey="002" TransactionType="Remove">
      <StudyEventData StudyEventOID="SE.1"><FormData FormOID="F.1">
        <ItemGroupData ItemGroupOID="IG.DM"/><ItemGroupData ItemGroupOID="IG.VS"/>
      </FormData></StudyEventData>
    </SubjectData>
  </ClinicalData>
</ODM>"""

DATASET: dict[str, Any] = {
    "datasetJSONVersion": "1.1.0",
    "records": 2,
    "name": "LB",
    "columns": [
        {"itemOID": "IT.1", "name": "USUBJID", "label": "Subject", "dataType": "string", "keySequence": 1},
        {"itemOID": "IT.2", "name": "LBSEQ", "label": "Sequence", "dataType": "integer"},
        {"itemOID": "IT.3", "name": "LBSTRESN", "label": "Result", "dataType": "decimal", "targetDataType": "decimal"},
        {"itemOID": "IT.4", "name": "LBDTC", "label": "Date", "dataType": "datetime"},
    ],
}
VALUES = [["01-701", 1, "7.40", "2024-03"], ["01-702", 2, None, None]]

XML = """<export xmlns="urn:x"><patient id="7"><name use="official"><family>Müller</family><given>Jörg</given>
<given>Karl</given></name><birth>1961-05-04</birth>  <note/>a<b>b</b>c</patient><other><patient id="8"/></other>
<patient id="9"><id>x</id></patient></export>"""

ORU = (
    "MSH|^~\\&|LAB|KH^1.2.3^ISO|EMR|KH|20240229103000+0100||ORU^R01^ORU_R01|m-1|P|2.5.1|||||DEU|UNICODE UTF-8\r"
    "PID|1||4711^^^KH^MR~X123^^^GKV^NI||Müller^Jörg^^^Dr.&med.||19610504|M|||Am Wall 1^^Kiel\r"
    "OBR|1|A\\T\\B|F\\F\\G|718-7^Hämoglobin^LN\r"
    "OBX|1|NM|718-7^Hb^LN||13.50|g/dL|12-16|N|||F\r"
    'NTE|1||Zeile 1\\.br\\Zeile 2 \\Zowner\\ \\X41\\ ""\r'
    "OBR|2\r"
    'OBX|2|ST|x||""\r'
    "ZPI|\\R\\\\S\\\\E\\\r"
)
